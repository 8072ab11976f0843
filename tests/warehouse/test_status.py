"""What `cx status` tells of checks."""

from typing import Any

import dagster as dg

from cx_pipeline.warehouse.status import Status, _read_failed_checks


def test_a_failed_check_is_told_until_a_run_finds_it_in_order():
    rows, is_broken = {"failing_rows": 3}, False

    @dg.asset(key=["sources", "erp"])
    def landed() -> None: ...

    @dg.asset(key=["journey", "orders"])
    def orders() -> None:
        if is_broken:
            raise ValueError

    @dg.asset_check(asset=landed)
    def answered() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=orders)
    def every_order_has_a_rate() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=not rows,
            metadata=rows,
            severity=dg.AssetCheckSeverity.WARN,
            description="Rates are missing.",
        )

    def failed_checks() -> list:
        status = Status()
        _read_failed_checks(status, instance)
        return status.failed_checks

    def run(*assets: Any) -> None:
        dg.materialize(assets, instance=instance, raise_on_error=False)

    everything = (landed, answered, orders, every_order_has_a_rate)
    failed = [("journey/orders", "every_order_has_a_rate", "warn", 3, "Rates are missing.")]
    with dg.DagsterInstance.ephemeral() as instance:
        assert failed_checks() == []
        run(*everything)
        assert failed_checks() == failed
        # Nothing new behind the sources.
        run(landed, answered)
        assert failed_checks() == failed
        is_broken = True
        run(*everything)
        assert failed_checks() == failed
        is_broken = False
        rows.clear()
        run(*everything)
        assert failed_checks() == []

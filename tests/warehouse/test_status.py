"""What `cx status` tells of checks."""

import dagster as dg

from cx_pipeline.warehouse.status import Status, _read_failed_checks


def test_a_failed_check_is_told_until_a_run_finds_it_in_order():
    rows = {"failing_rows": 3}

    @dg.asset
    def orders() -> None: ...

    @dg.asset_check(asset=orders)
    def every_order_has_a_rate() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=not rows, metadata=rows, severity=dg.AssetCheckSeverity.WARN
        )

    def failed_checks() -> list:
        status = Status()
        _read_failed_checks(status, instance)
        return status.failed_checks

    failed = [("orders", "every_order_has_a_rate", "warn", 3)]
    with dg.DagsterInstance.ephemeral() as instance:
        assert failed_checks() == []
        dg.materialize([orders, every_order_has_a_rate], instance=instance)
        assert failed_checks() == failed
        # Nothing new: nothing is made, so nothing is checked.
        dg.materialize([orders], instance=instance)
        assert failed_checks() == failed
        rows.clear()
        dg.materialize([orders, every_order_has_a_rate], instance=instance)
        assert failed_checks() == []

"""The tables of dbt below the figures, on chosen rows."""

from tests.conftest import run_dbt


def test_the_unit_tests_of_the_room_hold(demo_company, tmp_path):
    unit_tests = ("--select", "kpis,test_type:unit")
    results = run_dbt(demo_company.data_dir, "test", *unit_tests, artifacts=tmp_path)
    assert {result.status for result in results} == {"pass"}
    assert len(results) >= 6

"""The day of a UTC timestamp in the company's time zone, with few conversions and with all."""

import duckdb
import jinja2
import pytest

from cx_pipeline.settings import DBT_PROJECT_DIR
from cx_pipeline.warehouse.engine.duckdb_engine import utc_offset_seconds


def local_date(time_zone: str, **dbt_vars: list[int]) -> str:
    macro = (DBT_PROJECT_DIR / "macros/engine/functions.sql").read_text()
    call = "{{ duckdb__date_in_time_zone('moment', time_zone) }}"
    return (
        jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"])
        .from_string(macro + call)
        .render(time_zone=time_zone, var=dbt_vars.get)
    )


@pytest.mark.parametrize(
    "time_zone",
    [
        "Europe/Copenhagen",
        "America/St_Johns",  # half an hour, and changed its clocks at a minute past midnight
        "Australia/Lord_Howe",  # moves by half an hour
        "Africa/Casablanca",  # another time in Ramadan
        "Africa/Monrovia",  # 44 minutes and 30 seconds until 1972
        "Pacific/Apia",  # had no 30 December 2011
    ],
)
def test_a_day_without_a_conversion_is_the_day_of_the_conversion(time_zone):
    short = local_date(time_zone, utc_offset_seconds=utc_offset_seconds(time_zone))
    long = local_date(time_zone)
    assert "interval" in short and "interval" not in long
    with duckdb.connect() as connection:
        ((wrong, known),) = connection.execute(
            f"""
            select count(*) filter (where ({short}) is distinct from ({long})), count(moment)
            from (
                select moment + interval 1 second * to_add as moment
                from generate_series(
                    timestamp '1965-01-01', timestamp '2040-01-01', interval 1 hour
                ) as hours (moment)
                cross join (values (0), (59), (3599)) as seconds (to_add)
                union all
                select null
            )
            """
        ).fetchall()
    assert wrong == 0
    assert known > 1_900_000

"""Runs the key figures' queries and keeps what they say.

Reads:     the queries of `queries`, and through them the tables of the semantic models; what
           kpis.kpi_values said of earlier months, of the figures that know only the last day
Writes:    kpis.kpi_values, kpis.definitions
Keeps out: what a figure means (dbt_project/models/kpis)
"""

import duckdb

from cx_pipeline.kpis.queries import Kpi, KpiQuery

NO_VALUE = "unknown"
"""The dimension's value of rows that have none, such as an order of nobody known by country."""

_VALUES = """
create table if not exists kpis.kpi_values (
    kpi varchar,
    period_grain varchar,
    period_start date,
    is_complete boolean,
    dimension varchar,
    dimension_value varchar,
    value double,
    numerator double,
    denominator double,
    n bigint
)
"""
# Without is_complete: the rows that an earlier version kept have none.
_FOUND = """
create or replace temp table found as
select
    kpi, period_grain, period_start, dimension, dimension_value, value, numerator, denominator, n
from kpis.kpi_values limit 0
"""
# What a figure's rows are judged by.
_TRAITS = """
create or replace temp table traits (
    kpi varchar,
    is_snapshot boolean,
    is_whole boolean,
    zero_is_unknown boolean,
    settles_after_days integer
)
"""
_DEFINITIONS = """
create or replace table kpis.definitions (
    position bigint,
    kpi varchar,
    title varchar,
    description varchar,
    unit varchar,
    better varchar,
    numerator varchar,
    denominator varchar,
    n varchar,
    is_snapshot boolean
)
"""


def compute(con: duckdb.DuckDBPyConnection, kpis: list[Kpi], queries: list[KpiQuery]) -> int:
    """Compute every key figure anew, in one transaction; return the number of values.

    A period in which nothing was counted has no row, nor has a figure that nobody records. The
    total's period starts with the first month that has a value. A snapshot (customers, consents,
    segments) says nothing of the months before: their rows stay as the last run in each month left
    them.
    """
    by_name = {kpi.name: kpi for kpi in kpis}
    con.execute("create schema if not exists kpis")
    con.execute("begin transaction")
    try:
        con.execute(_VALUES)
        con.execute(_DEFINITIONS)
        con.execute(_FOUND)
        con.execute(_TRAITS)
        if kpis:
            con.executemany(
                "insert into traits values (?, ?, ?, ?, ?)",
                [
                    [
                        kpi.name,
                        kpi.is_snapshot,
                        "all" in kpi.dimensions,
                        kpi.zero_is_unknown,
                        kpi.settles_after_days,
                    ]
                    for kpi in kpis
                ],
            )
        for query in queries:
            con.execute(_insert(query, by_name))
        con.execute(
            """
            create or replace table kpis.kpi_values as
            with figures as (
                select
                    * replace (
                        coalesce(
                            period_start, min(period_start) filter (period_grain = 'month') over (
                                partition by kpi
                            )
                        ) as period_start
                    )
                from found
                union all by name
                select * from kpis.kpi_values as kept
                where
                    kpi in (select kpi from traits where is_snapshot)
                    and period_grain <> 'total'
                    -- By the day, not by what was found: that may be nothing.
                    and period_start < (
                        select date_trunc(kept.period_grain, as_of_date) from journey.as_of
                    )
            )

            select
                kpi,
                period_grain,
                period_start,
                period_grain = 'total' or (
                    -- Nobody knows whether the data begin with the first period's first day. A
                    -- part of what is no whole, such as a stage, has a beginning of its own.
                    (
                        is_snapshot
                        or period_start > min(period_start) over (
                            partition by kpi, period_grain, if(is_whole, null, dimension_value)
                        )
                    )
                    and period_start + case period_grain
                        when 'month' then interval 1 month
                        when 'week' then interval 7 day
                    end <= as_of_date - settles_after_days + interval 1 day
                ) as is_complete,
                dimension,
                dimension_value,
                value,
                numerator,
                denominator,
                n,
            from figures
            inner join traits using (kpi)
            cross join journey.as_of
            -- A figure without a numerator is its own.
            qualify
                not zero_is_unknown
                or bool_or(coalesce(numerator, value) <> 0) over (partition by kpi)
            order by all
            """
        )
        (row,) = con.execute("select count(*) from kpis.kpi_values").fetchall()
        _describe(con, kpis)
        con.execute("commit")
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("drop table if exists found")
    con.execute("drop table if exists traits")
    return int(row[0])


def _insert(query: KpiQuery, kpis: dict[str, Kpi]) -> str:
    """Return the statement that keeps one query's figures, a row per figure, period and value."""
    period = f"cast({query.period_column} as date)" if query.period_column else "null"
    if query.dimension_column:
        value = f"coalesce(cast({query.dimension_column} as varchar), '{NO_VALUE}')"
    else:
        value = f"'{query.dimension}'"
    known = f" and {query.period_column} is not null" if query.period_column else ""
    # Where goods were only taken back there is an amount and no order that counts; without it the
    # parts would not add up to the whole.
    selects = [
        f"select '{kpi.name}', '{query.grain}', {period}, '{query.dimension}', {value}, "
        f"{_value(kpi)} as figure, cast({kpi.numerator or 'null'} as double), "
        f"cast({kpi.denominator or 'null'} as double), cast({kpi.n} as bigint) from answer "
        f"where ({kpi.n} > 0 or figure <> 0) and figure is not null{known}"
        for kpi in (kpis[name] for name in query.kpis)
    ]
    union = " union all ".join(selects)
    return f"insert into found with answer as materialized ({query.sql}\n) {union}"


def _value(kpi: Kpi) -> str:
    """Return the figure as SQL; for a ratio what MetricFlow itself would write."""
    if kpi.denominator is None:
        return f"cast({kpi.name} as double)"
    return f"cast({kpi.numerator} as double) / cast(nullif({kpi.denominator}, 0) as double)"


def _describe(con: duckdb.DuckDBPyConnection, kpis: list[Kpi]) -> None:
    rows = [
        [
            position,
            kpi.name,
            kpi.title,
            kpi.description,
            kpi.unit,
            kpi.better,
            kpi.numerator,
            kpi.denominator,
            kpi.n,
            kpi.is_snapshot,
        ]
        for position, kpi in enumerate(kpis, start=1)
    ]
    if rows:
        con.executemany("insert into kpis.definitions values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

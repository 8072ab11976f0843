"""Runs the key figures' queries and keeps what they say.

Reads:     the queries of `queries`, and through them the tables of the semantic models
Writes:    kpis.kpi_values, kpis.definitions
Keeps out: what a figure means (dbt_project/models/kpis)
"""

import duckdb

from cx_pipeline.kpis.queries import Kpi, KpiQuery

NO_VALUE = "unknown"
"""The dimension's value of rows that have none, such as an order of nobody known by country."""

_TABLES = """
create or replace table kpis.kpi_values (
    kpi varchar,
    period_grain varchar,
    period_start date,
    dimension varchar,
    dimension_value varchar,
    value double,
    numerator double,
    denominator double,
    n bigint
);
create or replace table kpis.definitions (
    kpi varchar,
    title varchar,
    description varchar,
    unit varchar,
    better varchar,
    numerator varchar,
    denominator varchar,
    n varchar
);
"""


def compute(con: duckdb.DuckDBPyConnection, kpis: list[Kpi], queries: list[KpiQuery]) -> int:
    """Compute every key figure anew, in one transaction; return the number of values.

    A period in which nothing was counted has no row. The total's period starts with the first
    month that has a value.
    """
    by_name = {kpi.name: kpi for kpi in kpis}
    con.execute("create schema if not exists kpis")
    con.execute("begin transaction")
    try:
        con.execute(_TABLES)
        con.execute("create or replace temp table found as from kpis.kpi_values limit 0")
        for query in queries:
            con.execute(_insert(query, by_name))
        con.execute(
            """
            insert into kpis.kpi_values
            select
                kpi,
                period_grain,
                coalesce(
                    period_start, min(period_start) filter (period_grain = 'month') over (
                        partition by kpi
                    )
                ),
                dimension,
                dimension_value,
                value,
                numerator,
                denominator,
                n,
            from found
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
    return int(row[0])


def _insert(query: KpiQuery, kpis: dict[str, Kpi]) -> str:
    """Return the statement that keeps one query's figures, a row per figure, period and value."""
    period = f"cast({query.period_column} as date)" if query.period_column else "null"
    if query.dimension_column:
        value = f"coalesce(cast({query.dimension_column} as varchar), '{NO_VALUE}')"
    else:
        value = f"'{query.dimension}'"
    known = f" and {query.period_column} is not null" if query.period_column else ""
    selects = [
        f"select '{kpi.name}', '{query.grain}', {period}, '{query.dimension}', {value}, "
        f"{_value(kpi)} as figure, cast({kpi.numerator or 'null'} as double), "
        f"cast({kpi.denominator or 'null'} as double), cast({kpi.n} as bigint) from answer "
        f"where figure is not null and {kpi.n} > 0{known}"
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
            kpi.name,
            kpi.title,
            kpi.description,
            kpi.unit,
            kpi.better,
            kpi.numerator,
            kpi.denominator,
            kpi.n,
        ]
        for kpi in kpis
    ]
    if rows:
        con.executemany("insert into kpis.definitions values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

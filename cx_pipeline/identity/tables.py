"""Reads what identity is worked out from, and writes what came out, in the warehouse.

Reads:     identity.identifiers, identity.id_edges
Writes:    identity.customer_xref, identity.id_changes, identity.rejected_links: all three or none,
           and only the rows that differ, so that a run without news leaves them untouched
"""

import duckdb
import pyarrow as pa

from cx_pipeline.identity.resolution import EDGE_COLUMNS, IDENTIFIER_COLUMNS, Resolution

TABLES = {
    "customer_xref": {
        "profile_key": "uuid",
        "identifier_type": "varchar",
        "customer_id": "varchar",
        "is_known": "boolean",
        "valid_from": "timestamp",
        "valid_to": "timestamp",
        "is_current": "boolean",
    },
    "id_changes": {
        "id_change_key": "varchar",
        "customer_id": "varchar",
        "previous_customer_id": "varchar",
        "effective_at": "timestamp",
        "changed_at": "timestamp",
        "change_type": "varchar",
        "load_id": "bigint",
        "reason": "varchar",
    },
    "rejected_links": {
        "left_profile_key": "uuid",
        "right_profile_key": "uuid",
        "left_type": "varchar",
        "right_type": "varchar",
        "source_name": "varchar",
        "entity": "varchar",
        "rule": "varchar",
        "reason": "varchar",
        "load_id": "bigint",
        "rejected_at": "timestamp",
    },
}
"""Columns and types of the tables, which are described in _identity__sources.yml."""


def read_identifiers(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return identity.identifiers as `resolve` takes them."""
    return _read(connection, "identity.identifiers", IDENTIFIER_COLUMNS)


def read_edges(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Return identity.id_edges as `resolve` takes them."""
    return _read(connection, "identity.id_edges", EDGE_COLUMNS)


def write_resolution(connection: duckdb.DuckDBPyConnection, resolution: Resolution) -> int:
    """Make the three tables equal to the resolution in one transaction.

    Returns:
        How many rows were deleted or added; 0 when everything stood already.
    """
    connection.execute("begin")
    try:
        changed = sum(
            _write(connection, name, getattr(resolution, name), columns)
            for name, columns in TABLES.items()
        )
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
    return changed


def _read(connection: duckdb.DuckDBPyConnection, table: str, columns: tuple[str, ...]) -> pa.Table:
    # Arrow has no UUID of its own; text is what DuckDB would make of it anyway.
    wanted = [f"{c}::varchar as {c}" if c.endswith("profile_key") else c for c in columns]
    return connection.sql(f"select {', '.join(wanted)} from {table}").to_arrow_table()


def _write(
    connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table, columns: dict[str, str]
) -> int:
    table, partial = f"identity.{name}", f"fresh_{name}"
    declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
    connection.execute(f"create table if not exists {table} ({declared})")
    cast = ", ".join(f"{column}::{kind} as {column}" for column, kind in columns.items())
    connection.register("resolved_rows", rows)
    connection.execute(
        f"create or replace temp table {partial} as select {cast} from resolved_rows"
    )
    connection.unregister("resolved_rows")
    same = " and ".join(f"old.{column} is not distinct from new.{column}" for column in columns)
    key = next(iter(columns))
    (deleted,) = connection.execute(
        f"delete from {table} as old where not exists "
        f"(select 1 from {partial} as new where old.{key} = new.{key} and {same})"
    ).fetchall()[0]
    (added,) = connection.execute(
        f"insert into {table} select new.* from {partial} as new "
        f"anti join {table} as old on old.{key} = new.{key} and {same}"
    ).fetchall()[0]
    connection.execute(f"drop table {partial}")
    return deleted + added

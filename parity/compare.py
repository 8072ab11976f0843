"""Compares two warehouses table by table and row by row, whatever engine made them.

Reads:     warehouse.duckdb of two data folders; Spark's tables are views in it
Keeps out: building them (`run`)

Rows have no order. Doubles may differ by 1e-9 of their size, or by 1e-12, for a sum of doubles
depends on the order in which it was made; everything else must be the same value of the same type.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

TOLERANCE = 1e-9
LEAST_TOLERANCE = 1e-12
"""Where a sum should come to nothing, its last bits have no size to be measured by."""
SAME_TYPES = ({"UUID", "VARCHAR"}, {"INTEGER", "BIGINT"})
"""Types that stand for each other in a warehouse: Spark has no uuid, and counts in BIGINT."""
SHOWN_DIFFERENCES = 5
"""How many differences of one table are shown; all are counted."""


@dataclass(frozen=True)
class Difference:
    """One value, or one whole row, that is not the same on both sides."""

    table: str
    key: str
    column: str
    left: str
    right: str

    def __str__(self) -> str:
        """Return it as one line for people."""
        return f"{self.table}  {self.key}  {self.column}: {self.left} | {self.right}"


@dataclass(frozen=True)
class Compared:
    """What came of one table."""

    table: str
    left_rows: int
    right_rows: int
    difference_count: int
    differences: tuple[Difference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return self.difference_count == 0


def compare_files(
    left: Path,
    right: Path,
    rooms: Sequence[str],
    keys: Mapping[str, Sequence[str]],
    *,
    prefix: str = "",
    is_published: bool = False,
) -> list[Compared]:
    """Compare every table of the rooms in two DuckDB files.

    Args:
        left: A warehouse or a published file.
        right: The same of the other engine.
        rooms: The schemas to compare.
        keys: Columns that identify a row, by `<room>.<table>`; for a table without, the first
            columns that do, else all.
        prefix: Stands before the tables' names in the result.
        is_published: Whether types that stand for each other are a difference all the same.
    """
    with (
        duckdb.connect() as connection,
        duckdb.connect(str(left), read_only=True) as left_file,
        duckdb.connect(str(right), read_only=True) as right_file,
    ):
        connection.execute("set timezone = 'UTC'")
        left_columns, right_columns = (_columns_of(file, rooms) for file in (left_file, right_file))
        compared = []
        for table in sorted(left_columns.keys() | right_columns.keys()):
            sides = left_columns.get(table, {}), right_columns.get(table, {})
            for name, file, columns in (
                ("left_side", left_file, sides[0]),
                ("right_side", right_file, sides[1]),
            ):
                if columns:
                    connection.register(name, _rows_of(file, table, columns))
            found = _compare_table(connection, table, *sides, keys.get(table, ()))
            compared.append(replace(_with_types(found, *sides, is_published), table=prefix + table))
        return compared


def _with_types(
    found: Compared, left: dict[str, str], right: dict[str, str], is_exact: bool
) -> Compared:
    differences = [
        Difference(found.table, "(type)", name, left[name], right[name])
        for name in left
        if name in right
        and left[name] != right[name]
        and (is_exact or not _stand_for_each_other(left[name], right[name]))
    ]
    return replace(
        found,
        difference_count=found.difference_count + len(differences),
        differences=(*differences, *found.differences),
    )


def _columns_of(file: duckdb.DuckDBPyConnection, rooms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return names and types of the columns of every table; views over the lake are left out."""
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in file.execute(
        "select schema_name, table_name, column_name, data_type from duckdb_columns() "
        "where list_contains($1, schema_name) and not (schema_name = 'sources' "
        "and table_name in (select view_name from duckdb_views() where schema_name = 'sources')) "
        "order by schema_name, table_name, column_index",
        [list(rooms)],
    ).fetchall():
        found.setdefault(f"{schema}.{table}", {})[column] = kind
    return found


def _rows_of(file: duckdb.DuckDBPyConnection, table: str, columns: Mapping[str, str]) -> pa.Table:
    """Return a table's rows as Arrow, which has neither uuid nor integers of 128 bits."""
    plain = {"UUID": "varchar", "HUGEINT": "decimal(38, 0)"}
    selected = ", ".join(
        f'cast("{name}" as {plain[kind]}) as "{name}"' if kind in plain else f'"{name}"'
        for name, kind in columns.items()
    )
    return file.sql(f"select {selected} from {table}").to_arrow_table()


def _compare_table(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    left: dict[str, str],
    right: dict[str, str],
    key: Sequence[str],
) -> Compared:
    counts = [
        connection.execute(f"select count(*) from {side}").fetchall()[0][0] if there else 0
        for side, there in (("left_side", left), ("right_side", right))
    ]
    differences = [
        Difference(table, "(columns)", name, left.get(name, "missing"), right.get(name, "missing"))
        for name in [*left, *(name for name in right if name not in left)]
        if name not in left or name not in right
    ]
    if not left or not right:
        return Compared(table, *counts, len(differences), tuple(differences))
    shared = [name for name in left if name in right]
    # Doubles that differ in their last bits would not find each other.
    exact = [name for name in shared if not {left[name], right[name]} & {"DOUBLE", "FLOAT"}]
    key = [name for name in key if name in exact]
    if not exact:
        told = Difference(table, "(columns)", "(key)", ", ".join(left), ", ".join(right))
        return Compared(table, *counts, len(differences) + 1, (*differences, told))
    if not key or not _is_unique(connection, key):
        # A table's first columns say what a row of it is.
        starts = (exact[:size] for size in range(1, len(exact)))
        key = next((start for start in starts if _is_unique(connection, start)), exact)
    others = [name for name in shared if name not in key]
    rows = {
        side: f"select *, row_number() over (partition by {_listed(key)} "
        f"order by {_listed(others or key)}) as row_of_key from {side}"
        for side in ("left_side", "right_side")
    }
    same_key = " and ".join(
        f"{_text('l', name)} is not distinct from {_text('r', name)}" for name in key
    )
    connection.execute(
        f"create or replace temp table paired as select {_sides('l', shared, 'left')}, "
        f"{_sides('r', shared, 'right')}, l.row_of_key as left_row, r.row_of_key as right_row "
        f"from ({rows['left_side']}) as l full join ({rows['right_side']}) as r "
        f"on l.row_of_key = r.row_of_key and {same_key}"
    )
    shown_key = "concat_ws(', ', " + ", ".join(
        f"'{name}=' || coalesce(cast(coalesce(cast(\"left {name}\" as varchar), "
        f"cast(\"right {name}\" as varchar)) as varchar), 'null')"
        for name in key
    )
    selects = [
        f"select {shown_key}) as key, '(row)' as column_name, "
        "if(left_row is null, 'missing', 'there') as left_value, "
        "if(right_row is null, 'missing', 'there') as right_value from paired "
        "where left_row is null or right_row is null"
    ]
    selects += [
        f"select {shown_key}), '{name}', coalesce(cast(\"left {name}\" as varchar), 'null'), "
        f"coalesce(cast(\"right {name}\" as varchar), 'null') from paired "
        f"where left_row is not null and right_row is not null and not {_same(name, left, right)}"
        for name in others
        if _stand_for_each_other(left[name], right[name])
    ]
    found = connection.execute(
        f"select *, count(*) over () from ({' union all '.join(selects)}) "
        f"order by all limit {SHOWN_DIFFERENCES}"
    ).fetchall()
    differences += [Difference(table, *row[:4]) for row in found]
    total = len(differences) - len(found) + (found[0][4] if found else 0)
    return Compared(table, *counts, total, tuple(differences))


def _stand_for_each_other(left: str, right: str) -> bool:
    return left == right or {left, right} in SAME_TYPES


def _is_unique(connection: duckdb.DuckDBPyConnection, key: Sequence[str]) -> bool:
    repeated = f"select 1 from left_side group by {_listed(key)} having count(*) > 1 limit 1"
    return not connection.execute(repeated).fetchall()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _sides(alias: str, names: Sequence[str], side: str) -> str:
    return ", ".join(f'{alias}."{name}" as "{side} {name}"' for name in names)


def _text(alias: str, name: str) -> str:
    return f'cast({alias}."{name}" as varchar)'


def _same(name: str, left: dict[str, str], right: dict[str, str]) -> str:
    sides = f'"left {name}"', f'"right {name}"'
    kinds = left[name], right[name]
    if kinds[0] != kinds[1]:
        sides = tuple(f"cast({side} as varchar)" for side in sides)
    is_same = f"{sides[0]} is not distinct from {sides[1]}"
    if kinds[0] == kinds[1] and kinds[0] in ("DOUBLE", "FLOAT"):
        a, b = sides
        size = f"greatest(abs({a}), abs({b}))"
        close = f"abs({a} - {b}) <= greatest({LEAST_TOLERANCE}, {TOLERANCE} * {size})"
        # DuckDB holds NaN for equal to NaN, and infinity for no greater than infinity.
        is_same += f" or coalesce(isfinite({a}) and isfinite({b}) and {close}, false)"
    return f"({is_same})"

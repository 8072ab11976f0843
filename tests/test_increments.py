"""However the same rows are split into loads, the same tables come out: through the front door.

Some loads wait for others behind one room or another, as after a run that failed there.

A hundred small companies share one warehouse. Their people have nothing in common and each has
weeks of its own, so that a day which one of them must build again is not built because of another.
"""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cx_pipeline.settings import PROJECT_DIR
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES
from tests.conftest import Company, run_cx
from tests.journey.landed_sources import ENTITIES, RandomCompany
from tests.test_end_to_end import RUN_COLUMNS

CASES = 100
# How far the run of each load comes.
SPLIT = (
    (),
    ("sources", "staging"),
    ("sources", "staging", "identity", "consent", "journey"),
    ("sources", "staging", "experience"),
    (),
)
ARROW_TYPES = {
    "varchar": pa.string(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "double": pa.float64(),
}
# Whose they are may follow from their order or case alone.
MAY_NAME_NOBODY = {"cases", "survey_responses", "reviews", "store_visits"}
STATED = {
    "purpose": ["marketing", "surveys", "analytics", "personalisation"],
    "channel": ["email", "sms", None],
    "status": ["granted", "denied", "withdrawn"],
}
# What a table says of the way it came about, and not of the rows: the books of the loads, every
# version of a record, who became whom in which load, when a stay began.
HISTORIES = {
    "staging.load_balance",
    "staging.stg_identifier_sightings",
    "staging.stg_consent_events",
    "consent.consent_log",
    "identity.id_changes",
    "identity.resolved_evidence",
    # Whom the last run touched, and on which day each row was built; customers is compared.
    "customer_360.int_customer_360__touched_profiles",
    "customer_360.int_customer_360__orders",
    "customer_360.int_customer_360__products",
    "customer_360.int_customer_360__reach",
    "customer_360.int_customer_360__touchpoints",
    "customer_360.int_customer_360__last_touchpoints",
    "customer_360.customers_as_built",
    "segments.memberships",
}
HISTORY_COLUMNS = RUN_COLUMNS | {
    "merged_customer_count",
    "quarantine_id",
    "previous_order_ids",
    "previous_case_ids",
    "_case_load_id",
    "_message_load_id",
    # Of the first load that had the identifier or the pair.
    "anchored_at",
}
FIRST_SEEN_IN = {"entity", "source_name"}
CURRENT_ROWS = {"identity.customer_xref": "is_current"}


class CaseCompany(RandomCompany):
    """Six people, each row about one of them; two of them are awake at midnight."""

    def __init__(self, case: int) -> None:
        super().__init__(case, customers=6)
        self.case = case
        self.person = 0

    def _customer(self) -> int:
        return 100 * self.case + self.person

    def _row(self, entity: str, day: dt.date) -> dict[str, Any]:
        self.person = self.random.randrange(self.customers)
        row = super()._row(entity, day)
        if entity == "contacts":
            # One without a date is as new as its load.
            row["created_at"] = row["created_at"] or dt.datetime.combine(day, dt.time())
        # What links two identifiers names the person as well: else it depends on the order of the
        # loads whether a browser was seen with one customer or with two.
        named = [name for name in IDENTIFIER_TYPES if row.get(name)]
        if "crm_id" in row and len(named) > 1:
            row["crm_id"] = f"C{self._customer()}"
        elif "crm_id" not in row:
            row |= dict.fromkeys(named[1:])
        if entity in MAY_NAME_NOBODY and self.random.random() < 0.3:
            row |= dict.fromkeys(name for name in IDENTIFIER_TYPES if name in row)
        return row

    def _value(self, entity: str, column: dict[str, Any], day: dt.date) -> Any:
        known = STATED if entity == "consent_events" else {}
        if column["name"] in known:
            return self.random.choice(known[column["name"]])
        if entity == "web_events" and column["name"] == "occurred_at" and self.person < 2:
            midnight = dt.datetime.combine(day, dt.time())
            return midnight + dt.timedelta(minutes=self.random.randint(-45, 45))
        return super()._value(entity, column, day)

    def batches(self) -> list[dict[str, list[dict[str, Any]]]]:
        """Return what arrives, in its order: four days, the last of them late."""
        first = dt.date(2019, 1, 1) + dt.timedelta(days=21 * self.case)
        return [self.day(first + dt.timedelta(days=day), size=3) for day in (9, 11, 14, 10)]


def write_file(path: Path, entity: str, rows: list[dict[str, Any]]) -> None:
    """Write rows as an export; a row that the generator calls broken has no key."""
    columns = ENTITIES[entity]["columns"]
    key = columns[0]["name"]
    rows = [{**row, key: None} if row.get("_problems") else row for row in rows]
    fields = [
        pa.field(c["name"], ARROW_TYPES.get(c["data_type"], pa.decimal128(18, 2))) for c in columns
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = []
    for field in fields:
        values = [row.get(field.name) for row in rows]
        if pa.types.is_decimal(field.type):
            values = [None if value is None else round(value, 2) for value in values]
            arrays.append(pa.array(values, pa.float64()).cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    pq.write_table(pa.table(arrays, schema=pa.schema(fields)), path)


def write_config(folder: Path, inputs: Path) -> None:
    tables = {
        entity: {
            "files": f"{entity}-*.parquet",
            "entities": {
                table["config"]["meta"]["entity"]: {
                    "columns": {column["name"]: column["name"] for column in table["columns"]}
                }
            },
        }
        for entity, table in ENTITIES.items()
    }
    folder.mkdir(parents=True)
    sources = {"sources": {"all": {"path": str(inputs), "tables": tables}}}
    (folder / "sources.yml").write_text(yaml.safe_dump(sources, sort_keys=False))
    company = yaml.safe_load((PROJECT_DIR / "config" / "company.yml").read_text())
    company["quarantine"]["max_share"] = 1
    (folder / "company.yml").write_text(yaml.safe_dump(company))


def contents(company: Company) -> dict[str, set[tuple]]:
    """Return the rows of all tables and views behind the lake, customers by their smallest key."""
    with duckdb.connect(str(company.data_dir / "warehouse.duckdb")) as connection:
        connection.execute(
            "create temp table names as select customer_id, min(profile_key)::varchar as name "
            "from identity.customer_xref where is_current group by all"
        )
        columns: dict[str, list[str]] = {}
        for schema, table, column in connection.execute(
            "select schema_name, table_name, column_name from duckdb_columns() "
            "where not internal and schema_name not in ('sources', 'main') "
            "and database_name = 'warehouse' "
            "and not regexp_matches(table_name, '^(changed_profiles|evidence)_of_') order by all"
        ).fetchall():
            of_first_load = table in ("identifiers", "id_edges") and column in FIRST_SEEN_IN
            if (
                column not in HISTORY_COLUMNS
                and not of_first_load
                and f"{schema}.{table}" not in HISTORIES
            ):
                columns.setdefault(f"{schema}.{table}", []).append(column)
        found = {}
        for table, names in columns.items():
            shown = [
                "coalesce(names.name, t.customer_id) as customer_id"
                if name == "customer_id"
                else f't."{name}"'
                for name in names
            ]
            join = "left join names using (customer_id)" if "customer_id" in names else ""
            rows = connection.execute(
                f"select {', '.join(shown)} from {table} as t {join} "
                f"where {CURRENT_ROWS.get(table, 'true')}"
            ).fetchall()
            found[table] = sorted(map(repr, rows))
        return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    """The tables after one load of everything, and after the same files in several loads."""
    folder = tmp_path_factory.mktemp("increments")
    at_once, split = folder / "at_once", folder / "split"
    write_config(folder / "config_at_once", at_once)
    write_config(folder / "config_split", split)
    arriving: list[list[tuple[Path, str, list]]] = [[] for _ in SPLIT]
    for case in range(CASES):
        batches = CaseCompany(case).batches()
        chance = random.Random(f"split {case}")
        loads = sorted(chance.randrange(len(SPLIT)) for _ in batches)
        for number, (load, batch) in enumerate(zip(loads, batches, strict=True)):
            for entity, rows in batch.items():
                name = f"{entity}-{case:03d}-{number}.parquet"
                arriving[load].append((Path(name), entity, rows))
    results = []
    for name, inputs, loads, runs in (
        ("at_once", at_once, [[file for load in arriving for file in load]], [()]),
        ("split", split, arriving, SPLIT),
    ):
        company = Company(folder / f"data_{name}")
        for load, rooms in zip(loads, runs, strict=True):
            for file, entity, rows in load:
                write_file(inputs / file, entity, rows)
            chosen = [argument for room in rooms for argument in ("--select", room)]
            folders = ("--config", folder / f"config_{name}", "--data", company.data_dir)
            run_cx("run", *folders, *chosen)
        results.append(contents(company))
    return results[0], results[1]


def test_any_split_into_loads_gives_the_same_tables(built):
    at_once, split = built
    differing = {}
    for table in sorted(at_once.keys() | split.keys()):
        one, other = at_once.get(table, []), split.get(table, [])
        if one != other:
            differing[table] = (
                len(one),
                len(other),
                sorted(set(one) - set(other))[:2],
                sorted(set(other) - set(one))[:2],
            )
    assert differing == {}


def test_the_cases_fill_the_tables(built):
    at_once, _ = built
    assert len(at_once["journey.touchpoints"]) > 100 * CASES
    assert len(at_once["customer_360.customers"]) > 3 * CASES
    assert len(at_once["staging.stg_inherited_profiles"]) > CASES
    assert len(at_once) > 50

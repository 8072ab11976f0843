"""Lands chosen rows as the sources room would, so that dbt can be tested without a lake.

Writes the schema `sources` of a warehouse file: one table per entity of the input contract, the
books of the landing and the config tables. Runs dbt on it.
"""

import datetime as dt
import hashlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import yaml

from cx_pipeline.settings import DBT_PROJECT_DIR, PROJECT_DIR
from tests.conftest import run_dbt

CONTRACT = yaml.safe_load((DBT_PROJECT_DIR / "models/staging/_staging__sources.yml").read_text())
ENTITIES = {table["name"]: table for table in CONTRACT["sources"][0]["tables"]}
ROW_POSITION = {
    "_source": "varchar",
    "_table": "varchar",
    "_file": "varchar",
    "_row_number": "bigint",
    "_load_id": "bigint",
    "_loaded_at": "timestamp",
    "_problems": "varchar[]",
}
STAGES = [
    (touchpoint_type, event_name, stage)
    for touchpoint_type, events in yaml.safe_load(
        (PROJECT_DIR / "config" / "journey_stages.yml").read_text()
    )["touchpoints"].items()
    for event_name, stage in events.items()
]
BOOKS = """
create table sources.loads (load_id bigint, loaded_at timestamp, is_complete boolean);
create table sources.loaded_files (
    load_id bigint, source_name varchar, table_name varchar, file varchar, sha256 varchar,
    size_bytes bigint, row_count bigint, rejected_count bigint, first_row_number bigint
);
create table sources.rejected_rows (
    load_id bigint, source_name varchar, table_name varchar, file varchar, row_number bigint,
    column_name varchar, reason varchar
);
create table sources.taken_away_files (
    load_id bigint, source_name varchar, table_name varchar, file varchar
);
create table sources.quarantine_limits (source_name varchar, max_share double);
create table sources.mapped_entities (source_name varchar, table_name varchar, entity varchar);
create table sources.purposes (
    purpose varchar, name varchar, data_use varchar, legal_basis varchar, channel varchar,
    requires_consent boolean, expires_after_days bigint
);
create table sources.event_stages (touchpoint_type varchar, event_name varchar, stage varchar);
create table sources.exchange_rates (currency_code varchar, base_currency varchar, rate double);
"""


class LandedSources:
    """A warehouse file whose schema `sources` holds what the test lands."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        self.load_id = 0
        with self.connect() as connection:
            connection.execute("create schema sources")
            connection.execute(BOOKS)
            for entity, table in ENTITIES.items():
                columns = [f"{c['name']} {c['data_type']}" for c in table["columns"]]
                columns += [f"{name} {data_type}" for name, data_type in ROW_POSITION.items()]
                connection.execute(f"create table sources.{entity} ({', '.join(columns)})")
            connection.executemany("insert into sources.event_stages values (?, ?, ?)", STAGES)
            connection.execute(
                "insert into sources.exchange_rates values ('DKK', 'DKK', 1), ('EUR', 'DKK', 7.46)"
            )
            connection.execute(
                "insert into sources.purposes values "
                "('service', 'Service', 'essential.service', 'Contract', 'email', false, null)"
            )

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open the warehouse file."""
        return duckdb.connect(str(self.data_dir / "warehouse.duckdb"))

    def land(self, *files: tuple[str, str, Iterable[dict[str, Any]]]) -> int:
        """Land files as one load: (entity, file name, rows).

        A row may carry `_problems`, and `_table` if that is not named as the entity.
        """
        self.load_id += 1
        first_day = dt.datetime.fromisoformat("2026-01-01")
        loaded_at = first_day + dt.timedelta(days=self.load_id)
        with self.connect() as connection:
            connection.execute(
                "insert into sources.loads values (?, ?, true)", [self.load_id, loaded_at]
            )
            for entity, file, given in files:
                rows = [
                    {
                        **row,
                        "_source": "test",
                        "_table": row.get("_table", entity),
                        "_file": file,
                        "_row_number": number,
                        "_load_id": self.load_id,
                        "_loaded_at": loaded_at,
                        "_problems": row.get("_problems", []),
                    }
                    for number, row in enumerate(given, start=1)
                ]
                names = [column["name"] for column in ENTITIES[entity]["columns"]]
                names += list(ROW_POSITION)
                marks = ", ".join("?" * len(names))
                if rows:
                    connection.executemany(
                        f"insert into sources.{entity} values ({marks})",
                        [[row.get(name) for name in names] for row in rows],
                    )
                connection.execute(
                    "insert into sources.loaded_files values (?, 'test', ?, ?, ?, 1, ?, 0, 1)",
                    [
                        self.load_id,
                        entity,
                        file,
                        hashlib.sha256(repr(rows).encode()).hexdigest(),
                        len(rows),
                    ],
                )
                known = "select 1 from sources.mapped_entities where entity = ?"
                if not connection.execute(known, [entity]).fetchall():
                    connection.execute(
                        "insert into sources.mapped_entities values ('test', ?, ?)",
                        [entity, entity],
                    )
        return self.load_id

    def dbt(self, *arguments: str) -> Any:
        """Run dbt on this warehouse and return what it found; a failure fails the test."""
        return run_dbt(self.data_dir, *arguments, CX_IDENTITY_KEY="test key")

    def query(self, sql: str, *values: object) -> list[tuple]:
        """Ask the warehouse file."""
        with self.connect() as connection:
            return connection.execute(sql, list(values)).fetchall()

    def table_hashes(self, *schemas: str) -> dict[str, tuple[int, str]]:
        """Return row count and order-free content hash of each table of the schemas.

        Without what a row belonged to before: nobody knows that after a rebuild.
        """
        tables = self.query(
            "select table_schema || '.' || table_name from information_schema.tables "
            "where table_schema in (select unnest(?)) and table_type = 'BASE TABLE' "
            # Whose facts a run changed, and how far it has come.
            "and not regexp_matches(table_name, '^(changed_profiles|evidence)_of_') order by 1",
            list(schemas),
        )
        return {
            name: self.query(
                "select count(*), sum(hash(t))::varchar from "
                f"(select columns(lambda c: not starts_with(c, 'previous_')) from {name}) as t"
            )[0]
            for (name,) in tables
        }


class RandomCompany:
    """Random but coherent rows of a small retailer, reproducible by seed."""

    def __init__(self, seed: int, customers: int = 40) -> None:
        self.random = random.Random(seed)
        self.customers = customers
        self.made: dict[str, list[dict[str, Any]]] = {entity: [] for entity in ENTITIES}

    def day(self, day: dt.date, size: int = 30) -> dict[str, list[dict[str, Any]]]:
        """Return new rows of one day, with some late, repeated, corrected and broken ones."""
        rows = {
            entity: [self._row(entity, day) for _ in range(self.random.randint(size // 2, size))]
            for entity in ENTITIES
        }
        for entity, new in rows.items():
            key = ENTITIES[entity]["columns"][0]["name"]
            old = self.made[entity]
            for _ in range(min(len(old), 4)):
                corrected = self._row(entity, day) | {key: self.random.choice(old)[key]}
                new.append(corrected)
            new.append(dict(self.random.choice(new)))
            new.append(self._row(entity, day) | {key: self.random.choice(new)[key]})
            new.append(self._row(entity, day) | {"_problems": [f"{key}: is missing"]})
            self.made[entity] += new
        return rows

    def _row(self, entity: str, day: dt.date) -> dict[str, Any]:
        row = {
            column["name"]: self._value(entity, column, day)
            for column in ENTITIES[entity]["columns"]
        }
        key = ENTITIES[entity]["columns"][0]["name"]
        row[key] = f"{entity}-{self.random.getrandbits(40):x}"
        return row

    def _customer(self) -> int:
        """Whose value is next: anybody's, so that one row can be about several people."""
        return self.random.randrange(self.customers)

    def _value(self, entity: str, column: dict[str, Any], day: dt.date) -> Any:
        name, pick = column["name"], self.random
        customer = self._customer()
        if name in CHOICES:
            return pick.choice(CHOICES[name])
        if name in {"crm_id", "loyalty_id", "erp_customer_number"}:
            return f"{name[0].upper()}{customer}" if pick.random() < 0.2 else None
        if name == "email":
            return pick.choice([None, None, f" Person{customer}@Example.com", "no address"])
        if name == "phone":
            return pick.choice([None, None, f"+4520{customer:06d}", f"20 {customer:06d}"])
        if name in {"cookie_id", "device_id"}:
            return f"{name}-{customer}" if pick.random() < 0.7 else None
        if name.endswith("_id") and self.made.get(REFERENCES.get(name, ""), []):
            target = self.made[REFERENCES[name]]
            return pick.choice(target)[name] if pick.random() < 0.8 else None
        required = column.get("config", {}).get("meta", {}).get("required")
        if not required and pick.random() < 0.2:
            return None
        data_type = column["data_type"]
        moment = dt.datetime.combine(day, dt.time()) + dt.timedelta(
            minutes=pick.randrange(24 * 60) - (24 * 60 * 9 if pick.random() < 0.05 else 0)
        )
        if data_type == "timestamp":
            return moment
        if data_type == "date":
            return moment.date() + dt.timedelta(days=pick.randrange(5))
        if data_type == "boolean":
            return pick.random() < 0.5
        if data_type == "bigint":
            return pick.randrange(10)
        if data_type == "double":
            return float(pick.randrange(1, 6))
        if data_type.startswith("decimal"):
            return round(pick.uniform(1, 900), 2)
        return f"{name} {pick.randrange(5)}"


CHOICES = {
    "currency_code": ["DKK", "EUR", "eur "],
    "channel": ["web", "email", "sms", "store", "phone", "app"],
    "event_name": ["page_viewed", "promotion_clicked", "checkout_started", "order_completed"],
    "author_type": ["customer", "employee", "system"],
    "device_type": ["mobile", "desktop", "app"],
    "status": ["placed", "delivered", "cancelled", None],
    "country": ["DK", "SE", None],
}
REFERENCES = {
    "order_id": "orders",
    "order_line_id": "order_lines",
    "case_id": "cases",
    "product_id": "products",
    "store_id": "stores",
    "employee_id": "employees",
}

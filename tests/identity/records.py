"""Records with identifiers, and what the dbt models of identity make of them, in plain Python.

A profile key is `<type>:<value>` here, so that a failing test can be read.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import md5

import duckdb
import pyarrow as pa

from cx_pipeline.identity.tables import TABLES, Update, update_identity
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES, IdentityRules

IDENTIFIER_COLUMNS = (
    "profile_key",
    "identifier_type",
    "first_load_id",
    "first_loaded_at",
    "anchored_at",
    "source_name",
    "entity",
)
EDGE_COLUMNS = (
    "left_profile_key",
    "right_profile_key",
    "left_type",
    "right_type",
    "first_load_id",
    "first_loaded_at",
    "anchored_at",
    "source_name",
    "entity",
)
ORDERS = {
    "customer_xref": "profile_key, valid_from",
    "id_changes": "change_type, load_id, id_change_key",
    "rejected_links": "load_id, left_profile_key, right_profile_key",
}

# The warehouse's timestamps are UTC without a zone.
FIRST_DAY = dt.datetime.fromisoformat("2026-01-01")


def loaded_at(load_id: int) -> dt.datetime:
    return FIRST_DAY + dt.timedelta(days=load_id, hours=4)


@dataclass(frozen=True)
class Record:
    """One record: identifiers by type, the load that brought it, the hour it tells of."""

    load_id: int
    identifiers: dict[str, str] = field(hash=False)
    hour: int = 0
    entity: str = "orders"
    source: str = "shop"

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Type and key of each identifier, best first."""
        return [
            (name, f"{name}:{self.identifiers[name]}")
            for name in IDENTIFIER_TYPES
            if name in self.identifiers
        ]

    @property
    def anchor(self) -> tuple:
        moment = FIRST_DAY + dt.timedelta(hours=self.hour)
        return self.load_id, moment, self.entity, self.source


def evidence(
    records: list[Record], linking: Sequence[str] = IDENTIFIER_TYPES
) -> tuple[pa.Table, pa.Table]:
    """Return identifiers and edges of the records."""
    identifiers, edges = defaultdict(list), defaultdict(list)
    for record in records:
        for name, key in record.keys:
            identifiers[(key, name)].append(record.anchor)
        left_name, left_key = min(record.keys, key=lambda key: key[0] not in linking)
        for name, key in record.keys:
            if name == left_name:
                continue
            edges[(left_key, key, left_name, name)].append(record.anchor)
    return _table(identifiers, IDENTIFIER_COLUMNS), _table(edges, EDGE_COLUMNS)


def _table(anchors: dict[tuple, list[tuple]], columns: tuple[str, ...]) -> pa.Table:
    rows = []
    for keys, seen in anchors.items():
        load_id, moment, entity, source = min(seen)
        rows.append((*keys, load_id, loaded_at(load_id), moment, source, entity))
    kinds = {
        "first_load_id": pa.int64(),
        "first_loaded_at": pa.timestamp("us"),
        "anchored_at": pa.timestamp("us"),
    }
    lists = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pa.table(
        {
            name: pa.array(list(values), kinds.get(name, pa.string()))
            for name, values in zip(columns, lists, strict=True)
        }
    )


def rules(**changes: dict) -> IdentityRules:
    """Return rules without limits, except for what is given by identifier type."""
    return IdentityRules.model_validate(
        {"identifiers": {name: changes.get(name, {}) for name in IDENTIFIER_TYPES}}
    )


def usual_rules(**changes: dict) -> IdentityRules:
    """Return one CRM number per customer, devices and cookies of one customer only."""
    usual = {
        "crm_id": {"max_per_customer": 1},
        "email": {"max_per_customer": 5, "max_customers": 2},
        "device_id": {"max_customers": 1},
        "cookie_id": {"max_customers": 1},
    }
    return rules(**(usual | changes))


@dataclass(frozen=True)
class Resolution:
    """The three tables in an order of their own."""

    customer_xref: pa.Table
    id_changes: pa.Table
    rejected_links: pa.Table


class Warehouse:
    """Identity's tables in memory, with keys that can be read."""

    def __init__(self, by: IdentityRules) -> None:
        self.rules = by
        self.connection = duckdb.connect()
        self.connection.execute("create schema identity")
        for name, columns in TABLES.items():
            declared = ", ".join(
                f"{column} {kind.replace('uuid', 'varchar')}" for column, kind in columns.items()
            )
            self.connection.execute(f"create table identity.{name} ({declared})")

    def give(self, identifiers: pa.Table, edges: pa.Table) -> None:
        """Put evidence in the place of what was there."""
        for name, rows in (("identifiers", identifiers), ("id_edges", edges)):
            self.connection.register("rows", rows)
            self.connection.execute(
                f"create or replace table identity.{name} as select * from rows"
            )
            self.connection.unregister("rows")

    def land(self, records: list[Record]) -> None:
        """Put what the records show in the place of the evidence that was there."""
        linking = [name for name, rule in self.rules.identifiers.items() if rule.links]
        self.give(*evidence(records, linking))

    def update(self, made_by: str = "test", *, anew: bool = False) -> Update:
        return update_identity(self.connection, self.rules, made_by, anew=anew)

    def read(self) -> Resolution:
        return Resolution(
            **{
                name: self.connection.execute(
                    f"select * from identity.{name} order by {order}"
                ).to_arrow_table()
                for name, order in ORDERS.items()
            }
        )


def customer_id_of(profile_key: str) -> str:
    """Return the id of the customer whose oldest identifier is `profile_key`."""
    digits = md5(f"customer:{profile_key}".encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def resolve(identifiers: pa.Table, edges: pa.Table, by: IdentityRules) -> Resolution:
    """Return what the evidence gives from nothing."""
    warehouse = Warehouse(by)
    with warehouse.connection:
        warehouse.give(identifiers, edges)
        warehouse.update()
        return warehouse.read()


def resolved(records: list[Record], by: IdentityRules) -> Resolution:
    linking = [name for name, rule in by.identifiers.items() if rule.links]
    return resolve(*evidence(records, linking), by)


def current_customers(resolution: Resolution) -> dict[str, str]:
    """Return the current customer of each key."""
    rows = resolution.customer_xref.filter(resolution.customer_xref["is_current"])
    return dict(zip(rows["profile_key"].to_pylist(), rows["customer_id"].to_pylist(), strict=True))


def groups(resolution: Resolution) -> set[frozenset[str]]:
    """Return which keys are one customer, whatever the ids."""
    members = defaultdict(set)
    for key, customer in current_customers(resolution).items():
        members[customer].add(key)
    return {frozenset(keys) for keys in members.values()}


def changes(resolution: Resolution, change_type: str) -> list[dict]:
    rows = resolution.id_changes.to_pylist()
    return [row for row in rows if row["change_type"] == change_type]

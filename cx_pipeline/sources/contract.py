"""The input contract: which entities a source can be mapped to, with their columns and types.

Reads:     dbt_project/models/staging/_staging__sources.yml, the one place where it is written
Keeps out: how a source is mapped to it; that is config.py
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML

from cx_pipeline.settings import DBT_PROJECT_DIR
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES

CONTRACT_FILE = DBT_PROJECT_DIR / "models" / "staging" / "_staging__sources.yml"


@dataclass(frozen=True)
class Column:
    """One column of an entity; `data_type` is DuckDB's name in lower case."""

    name: str
    data_type: str
    description: str
    is_key: bool
    is_required: bool
    data_category: str | None


@dataclass(frozen=True)
class Entity:
    """One entity of the contract; `name` is singular, `table` is the plural view name."""

    name: str
    table: str
    description: str
    columns: dict[str, Column]

    @property
    def key(self) -> str:
        """Name of the column that tells the rows apart."""
        return next(column.name for column in self.columns.values() if column.is_key)

    @property
    def required(self) -> list[str]:
        """Names of the columns that may not be empty."""
        return [column.name for column in self.columns.values() if column.is_required]


@lru_cache(maxsize=1)
def entity_contract() -> dict[str, Entity]:
    """Return every entity of the contract by its singular name, in the file's order."""
    document = YAML(typ="safe", pure=True).load(CONTRACT_FILE.read_text(encoding="utf-8"))
    tables = next(source["tables"] for source in document["sources"] if source["name"] == "sources")
    entities = (_entity(table) for table in tables if "entity" in _meta(table))
    return {entity.name: entity for entity in entities}


def contract_page() -> str:
    """Return the page docs/input_contract.md, generated from the contract's own descriptions."""
    entities = entity_contract()
    identifiers = ", ".join(f"`{name}`" for name in IDENTIFIER_TYPES)
    lines = [
        "# Input contract",
        "",
        "<!-- Generated from dbt_project/models/staging/_staging__sources.yml; do not edit. -->",
        "",
        "What a source can be mapped to. `config/sources.yml` maps each table of a source to one",
        "or more of these entities by one DuckDB expression a column. Columns that you do not map",
        "stay empty here; columns of yours that are not mapped stay in the lake and in the view",
        "`raw_<source>.<table>`.",
        "",
        "- **Required** columns must be mapped, and a row that lacks a value goes to quarantine.",
        "- **Key**: one row per value over all sources; a later load replaces the earlier row.",
        "- **Types**: `timestamp` is UTC (a value without an offset is read in the source's",
        "  `time_zone`), `decimal(18,2)` is money in the row's `currency_code`, `boolean` is true,",
        "  t, yes, y, 1 or false, f, no, n, 0; other words by an expression, such as",
        "  `medlem = 'Ja'`.",
        "- A timestamp more than one day after its load goes to quarantine, except `expires_at`.",
        f"- **Identifiers** ({identifiers}) tell who the",
        "  customer is; give each row as many as the source knows.",
        "",
        "| Entity | Table | Grain |",
        "|---|---|---|",
    ]
    for entity in entities.values():
        anchor = entity.name
        lines.append(f"| [{entity.name}](#{anchor}) | `{entity.table}` | {entity.description} |")
    for entity in entities.values():
        lines += ["", f"## {entity.name}", "", entity.description, ""]
        lines += ["| Column | Type | Required | Meaning | Personal data |", "|---|---|---|---|---|"]
        for column in entity.columns.values():
            required = "key" if column.is_key else "yes" if column.is_required else ""
            category = f"`{column.data_category}`" if column.data_category else ""
            cells = (f"`{column.name}`", column.data_type, required, column.description, category)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _meta(node: dict[str, Any]) -> dict[str, Any]:
    return (node.get("config") or {}).get("meta") or {}


def _entity(table: dict[str, Any]) -> Entity:
    columns = {}
    for column in table["columns"]:
        meta = _meta(column)
        columns[column["name"]] = Column(
            name=column["name"],
            data_type=column["data_type"].lower(),
            description=column["description"],
            is_key=bool(meta.get("key")),
            is_required=bool(meta.get("required")),
            data_category=meta.get("data_category"),
        )
    return Entity(
        name=_meta(table)["entity"],
        table=table["name"],
        description=table["description"],
        columns=columns,
    )

"""Which tables and columns a reader may have: decided from dbt's manifest, and closed by default.

Reads:     the dbt manifest (descriptions and `data_category` tags of models and sources)
Keeps out: every column that says, or may say, who somebody is; how the file is made (`publish`)
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

PUBLISHED_ROOMS = (
    "consent",
    "journey",
    "experience",
    "media",
    "customer_360",
    "segments",
    "kpis",
)
"""Rooms whose tables are all published, under their own names, but for steps in between (int_)."""

PUBLISHED_TABLES = {"identity": ("customer_xref", "id_changes")}
"""Rooms of which only some tables are published: identity's contact points stay at home."""

OBJECTORS = "objecting_profiles"
"""Temporary table of `publish`: the profile keys of those who object to analytics."""

PROFILE_KEYS_OF_OBJECTORS = """
select profile_key from identity.customer_xref
where is_current and case
    when is_known then customer_id not in (
        select customer_id from customer_360.customers where is_analytics_permitted
    )
    else customer_id in (
        select customer_id from consent.consent_state where purpose = 'analytics'
        group by customer_id having bool_or(not is_permitted)
    )
end
"""
"""Asked of the warehouse. Whom customer 360 does not know yet counts as objecting, and a nameless
visitor who said no, such as in a cookie banner.
"""

_NO_OBJECTOR = f"profile_key not in (select profile_key from {OBJECTORS})"
_NO_CONTACT_POINT_OF_OBJECTOR = """
(
    contact_point_key is null
    or customer_id in (select customer_id from customer_360.customers where is_analytics_permitted)
)
"""
PUBLISHED_ROWS = {
    "consent.consent_state": _NO_CONTACT_POINT_OF_OBJECTOR,
    "customer_360.customer_profiles": _NO_OBJECTOR,
    "identity.customer_xref": _NO_OBJECTOR,
}
"""Which rows of a table may leave, where not all of them may.

What maps a key to its customer leaves out who objects to analytics. What they said of consent stays
readable in consent.permissions.
"""

LINKS = ("contact_point_key", "contract_id", "device_serial", "profile_key")
"""Columns by which the facts of one person lead to each other. Where a fact bears a profile key
they are empty on the rows of who objects to analytics: the facts stay, which accounting needs. A
single one may be known by its day and amount, and must not lead to what was watched.
"""

WATCHED_MOMENTS = {
    "journey.sessions": ("ended_at", "started_at"),
    "journey.touchpoints": ("occurred_at", "order_id"),
}
"""Columns by which what was watched can be told from all else of a day: empty like LINKS. Of 40
objectors of a demo company all could be found by the moment of their objection, and 29 by the order
that a visit ended in.
"""

_OWN_KEYS = {"journey.contracts": "contract_id"}
"""What a table is keyed by stays."""

PUBLISHED_CATEGORIES = (
    "system",
    "user.account",
    "user.behavior",
    "user.demographic.age_range",
    "user.demographic.gender",
    "user.demographic.language",
    "user.location.imprecise",
    "user.privacy_preferences",
    "user.unique_id.pseudonymous",
)
"""Fideslang categories (with everything below them) that do not name a person by themselves.

A list of what may pass, not of what may not: a category that nobody thought of stays at home.
"""


class UndeclaredColumnError(ValueError):
    """A table holds columns of which nobody has said what they are."""


class TableNotBuiltError(LookupError):
    """The manifest declares a table that the warehouse does not hold yet."""


@dataclass(frozen=True)
class Column:
    """One column that is published."""

    name: str
    description: str


@dataclass(frozen=True)
class Table:
    """One table that is published, with the columns that may leave."""

    schema: str
    name: str
    description: str
    columns: tuple[Column, ...]
    withheld: tuple[str, ...]
    rows: str = "true"
    """Which rows may leave, as a condition over the warehouse."""
    unlinked: tuple[str, ...] = ()
    """Columns that stay empty on the rows of who objects to analytics."""
    reads_published_only: bool = False
    """Whether it is a view and all that it reads is published with every column."""

    @property
    def key(self) -> str:
        """Return `<schema>.<name>`."""
        return f"{self.schema}.{self.name}"

    @property
    def has_days(self) -> bool:
        """Whether its rows belong to days, so that a day can be published by itself."""
        return any(column.name == "event_date" for column in self.columns)


def is_published(schema: str, name: str) -> bool:
    """Return whether readers get a table at all."""
    if name.startswith("int_"):
        return False
    return schema in PUBLISHED_ROOMS or name in PUBLISHED_TABLES.get(schema, ())


def _category(column: Mapping[str, Any]) -> str | None:
    meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
    return meta.get("data_category")


def _may_leave(category: str | None) -> bool:
    return category is None or any(
        category == allowed or category.startswith(f"{allowed}.")
        for allowed in PUBLISHED_CATEGORIES
    )


def _reads_only(node: Mapping[str, Any], whole: Collection[str]) -> bool:
    read = (node.get("depends_on") or {}).get("nodes") or []
    is_view = (node.get("config") or {}).get("materialized") == "view"
    return is_view and bool(read) and all(unique_id in whole for unique_id in read)


def published_nodes(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the manifest's nodes that are published, by `<schema>.<table>`, in order."""
    nodes: Iterable[Mapping[str, Any]] = [
        *manifest["nodes"].values(),
        *manifest["sources"].values(),
    ]
    tables = {}
    for node in nodes:
        if node["resource_type"] not in ("model", "source"):
            continue
        if (node.get("config") or {}).get("materialized") == "ephemeral":
            continue
        name = node.get("identifier") or node.get("alias") or node["name"]
        if is_published(node["schema"], name):
            tables[f"{node['schema']}.{name}"] = node
    return dict(sorted(tables.items()))


def published_tables(
    manifest: Mapping[str, Any], existing: Mapping[str, Collection[str]]
) -> list[Table]:
    """Return what may be published of the tables that exist, columns in the table's own order.

    Args:
        manifest: dbt's manifest as a dict.
        existing: The columns of every table of the warehouse, by `<schema>.<table>`.

    Raises:
        TableNotBuiltError: A declared table does not exist yet.
        UndeclaredColumnError: A table or a column has no description, so that nobody can say
            whether it may leave.
    """
    nodes = published_nodes(manifest)
    missing = [key for key in nodes if key not in existing]
    if missing:
        raise TableNotBuiltError(
            f"not built yet: {', '.join(missing)}. Run the whole pipeline (`cx run`) once before "
            "publishing; a file without these tables would be half a warehouse."
        )
    problems = []
    tables = []
    for key, node in nodes.items():
        declared = {name.lower(): column for name, column in node["columns"].items()}
        if not (node.get("description") or "").strip():
            problems.append(f"{key} has no description")
        columns, withheld = [], []
        for name in existing[key]:
            column = declared.get(name.lower())
            description = " ".join(((column or {}).get("description") or "").split())
            if not description:
                problems.append(f"{key}.{name} is not described")
            elif _may_leave(_category(column or {})):
                columns.append(Column(name, description))
            else:
                withheld.append(name)
        tables.append(
            Table(
                schema=node["schema"],
                name=key.split(".", 1)[1],
                description=" ".join((node.get("description") or "").split()),
                columns=tuple(columns),
                withheld=tuple(withheld),
                rows=PUBLISHED_ROWS.get(key, "true"),
                unlinked=tuple(
                    column.name
                    for column in columns
                    if column.name in (*LINKS, *WATCHED_MOMENTS.get(key, ()))
                    and column.name != _OWN_KEYS.get(key)
                    and key not in PUBLISHED_ROWS
                    and "profile_key" in existing[key]
                ),
            )
        )
    whole = {
        nodes[table.key].get("unique_id")
        for table in tables
        if not table.withheld and not table.unlinked
    }
    tables = [
        replace(table, reads_published_only=_reads_only(nodes[table.key], whole))
        for table in tables
    ]
    if problems:
        raise UndeclaredColumnError(
            "not published, because nobody has said whether it is personal data: "
            + "; ".join(problems)
            + ". Describe it in the room's _<room>__models.yml (or __sources.yml), and tag personal"
            " data with `config: {meta: {data_category: ...}}`."
        )
    return tables

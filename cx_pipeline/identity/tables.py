"""Keeps the three tables of identity equal to what all evidence gives, in the warehouse.

Reads:     identity.identifiers, identity.id_edges
Writes:    identity.customer_xref, identity.id_changes, identity.rejected_links,
           identity.resolved_evidence: all or none; of a part only the rows that differ
Keeps out: who is who (that is `resolution`); it sees numbers only, which are made of the keys here

A load can change nothing but the customers of the identifiers that its new identifiers and edges
are connected with, over any number of edges, refused ones too: a limit counts what stood beside a
value. So these are resolved again, from their first load on, by the same function as everything.
Everything is resolved when the evidence of former loads is not what it was, when code or config
changed, and when most of it is touched anyway.
"""

from dataclasses import dataclass

import duckdb
import numpy as np

from cx_pipeline.identity.clusters import Identifiers, Links
from cx_pipeline.identity.resolution import Resolution, resolve
from cx_pipeline.warehouse.identity_rules import IDENTIFIER_TYPES, IdentityRules

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
    "resolved_evidence": {"made_by": "varchar", "load_id": "bigint", "evidence": "varchar"},
}
"""Columns and types of the tables, which are described in _identity__sources.yml."""

SHARE_WORTH_A_PART = 0.3
"""Where more of the identifiers are touched than this, resolving all takes no longer."""

ROUNDS_WORTH_A_PART = 50
"""Steps from edge to edge: each reads all edges (0.1 s of 2.8 million); a chain that is longer is
found sooner by resolving all."""

# The columns that decide who is who; the others (when last seen, how often) move with every load.
_IDENTIFIER_COLUMNS = (
    "profile_key, identifier_type, first_load_id, first_loaded_at, anchored_at, source_name, entity"
)
_EDGE_COLUMNS = (
    "left_profile_key, right_profile_key, left_type, right_type, "
    "first_load_id, first_loaded_at, anchored_at, source_name, entity"
)

_TYPE_CODE = " ".join(
    ["case identifier_type"]
    + [f"when '{name}' then {code}" for code, name in enumerate(IDENTIFIER_TYPES)]
    + ["end"]
)

# It differs from the key on purpose: facts joined to customers without the map find nothing,
# rather than those few customers whose key it happens to be.
_CUSTOMER_ID = "md5('customer:' || profile_key::varchar)::uuid::varchar"


class InconsistentEvidenceError(ValueError):
    """Edges and identifiers do not belong together: one was built without the other."""


@dataclass(frozen=True)
class Update:
    """What it took to bring the tables up to date."""

    identifiers: int
    """All there are."""
    resolved_identifiers: int
    """Those that were worked out again."""
    changed_rows: int
    """Rows deleted or added; 0 when everything stood already."""


def update_identity(
    connection: duckdb.DuckDBPyConnection,
    rules: IdentityRules,
    made_by: str,
    *,
    anew: bool = False,
) -> Update:
    """Make the tables equal to what all evidence gives, in one transaction.

    Args:
        connection: The warehouse.
        rules: What links, and how far.
        made_by: What the result depends on besides the evidence, such as a hash of code and config.
        anew: Whether everything is worked out from the first load on, whatever is there.

    Raises:
        InconsistentEvidenceError: An edge names an identifier that is not there, or is older.
    """
    connection.execute("begin")
    try:
        update = _update(connection, rules, made_by, anew)
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
    return update


def _update(
    connection: duckdb.DuckDBPyConnection, rules: IdentityRules, made_by: str, anew: bool
) -> Update:
    is_complete = _declare_tables(connection)
    (stored,) = connection.execute(
        "select max(made_by), coalesce(max(load_id), 0), max(evidence) "
        "from identity.resolved_evidence"
    ).fetchall()
    load_id, before, now, total = _evidence(connection, stored[1])
    is_part = (
        is_complete
        and not anew
        and stored == (made_by, stored[1], before)
        and _find_touched(connection, stored[1], total)
    )
    resolved, changed = _resolve(connection, rules, is_part)
    connection.execute("delete from identity.resolved_evidence")
    connection.execute(
        "insert into identity.resolved_evidence values ($1, $2, $3)", [made_by, load_id, now]
    )
    return Update(identifiers=total, resolved_identifiers=resolved, changed_rows=changed)


def _declare_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    """Make the tables that are missing; return whether none was."""
    (there,) = connection.execute(
        "select list(table_name) from duckdb_tables() "
        "where database_name = current_database() and schema_name = 'identity'"
    ).fetchall()[0]
    for name, columns in TABLES.items():
        declared = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        connection.execute(f"create table if not exists identity.{name} ({declared})")
    return set(there or ()) >= set(TABLES)


def _evidence(connection: duckdb.DuckDBPyConnection, load_id: int) -> tuple[int, str, str, int]:
    """Return the last load; a hash of the evidence up to `load_id`, of all; how many identifiers.

    The sum of the rows' hashes does not depend on their order; 6.4 million rows take 0.1 s.
    """
    last, before, now, rows = 0, [], [], []
    for table, columns in (("identifiers", _IDENTIFIER_COLUMNS), ("id_edges", _EDGE_COLUMNS)):
        (found,) = connection.execute(
            f"""
            select
                coalesce(max(first_load_id), 0),
                coalesce(sum(row_hash) filter (where first_load_id <= $1), 0)::varchar,
                coalesce(sum(row_hash), 0)::varchar,
                count(*)
            from (select first_load_id, hash({columns}) as row_hash from identity.{table})
            """,
            [load_id],
        ).fetchall()
        last = max(last, found[0])
        for values, value in zip((before, now, rows), found[1:], strict=True):
            values.append(value)
    return last, " ".join(before), " ".join(now), rows[0]


def _find_touched(connection: duckdb.DuckDBPyConnection, load_id: int, identifiers: int) -> bool:
    """Note in `touched` what edges connect with anything that is new since a load.

    Returns:
        Whether that is all; False as soon as resolving everything is quicker.
    """
    connection.execute(
        """
        create or replace temp table touched as
        select profile_key, 0 as step from identity.identifiers where first_load_id > $1
        union
        select left_profile_key, 0 from identity.id_edges where first_load_id > $1
        union
        select right_profile_key, 0 from identity.id_edges where first_load_id > $1
        """,
        [load_id],
    )
    (count,) = connection.execute("select count(*) from touched").fetchall()[0]
    for step in range(ROUNDS_WORTH_A_PART):
        if count > SHARE_WORTH_A_PART * identifiers:
            return False
        (added,) = connection.execute(
            f"""
            insert into touched
            select distinct profile_key, {step + 1} from (
                select right_profile_key as profile_key from identity.id_edges
                where left_profile_key in (select profile_key from touched where step = {step})
                union all
                select left_profile_key from identity.id_edges
                where right_profile_key in (select profile_key from touched where step = {step})
            ) where profile_key not in (select profile_key from touched)
            """
        ).fetchall()[0]
        if not added:
            return True
        count += added
    return False


def _resolve(
    connection: duckdb.DuckDBPyConnection, rules: IdentityRules, is_part: bool
) -> tuple[int, int]:
    """Resolve the touched identifiers or all; return how many, and how many rows changed."""
    identifiers, links = _number(connection, is_part)
    count = len(identifiers.types)
    resolution = resolve(identifiers, links, rules)
    # 0.1 GiB at 3.6 million identifiers, which DuckDB can use now.
    del identifiers, links
    _name(connection, resolution)
    changed = sum(
        _write(connection, name, rows, scope if is_part else None)
        for name, (rows, scope) in _QUERIES.items()
    )
    for table in ("numbered", "links", "loads", "customers"):
        connection.execute(f"drop table {table}")
    for name in ("customers", "stays", "merges", "refusals"):
        connection.unregister(f"resolved_{name}")
    return count, changed


def _number(connection: duckdb.DuckDBPyConnection, is_part: bool) -> tuple[Identifiers, Links]:
    """Number the identifiers from the oldest on and the edges in the order of judgement.

    The oldest is that of the first load, of these the earliest, of these the smallest key. Edges
    are judged by load, then strongest evidence, then age; an edge is as strong as its weaker end:
    all e-mail addresses find their CRM number before any phone number is looked at, and both before
    cookies.
    """
    touched = "(select profile_key from touched)"
    connection.execute(
        f"""
        create or replace temp table numbered as
        select row_number() over () - 1 as place, ordered.* from (
            select profile_key, {_TYPE_CODE} as type_code, first_load_id
            from identity.identifiers
            {f"where profile_key in {touched}" if is_part else ""}
            order by first_load_id, anchored_at, profile_key
        ) as ordered
        """
    )
    connection.execute(
        """
        create or replace temp table links as
        select row_number() over () - 1 as edge, ordered.* from (
            select
                lefts.place as left_place,
                rights.place as right_place,
                edges.first_load_id,
                greatest(lefts.first_load_id, rights.first_load_id) as ends_load_id
            from identity.id_edges as edges
            inner join numbered as lefts on edges.left_profile_key = lefts.profile_key
            inner join numbered as rights on edges.right_profile_key = rights.profile_key
            order by
                edges.first_load_id,
                greatest(lefts.type_code, rights.type_code),
                least(lefts.type_code, rights.type_code),
                edges.anchored_at,
                left_place,
                right_place
        ) as ordered
        """
    )
    _refuse_inconsistent(connection, f"where left_profile_key in {touched}" if is_part else "")
    connection.execute(
        """
        create or replace temp table loads as
        select first_load_id as load_id, min(first_loaded_at) as loaded_at from (
            select first_load_id, first_loaded_at from identity.identifiers
            union all
            select first_load_id, first_loaded_at from identity.id_edges
        ) group by first_load_id
        """
    )
    numbered = _columns(
        connection, "select type_code::tinyint, first_load_id from numbered", "place"
    )
    links = _columns(connection, "select left_place, right_place, first_load_id from links", "edge")
    return Identifiers(*numbered), Links(*links)


def _columns(connection: duckdb.DuckDBPyConnection, query: str, order: str) -> list[np.ndarray]:
    return list(connection.execute(f"{query} order by {order}").fetchnumpy().values())


def _refuse_inconsistent(connection: duckdb.DuckDBPyConnection, scope: str) -> None:
    (strange,) = connection.execute(
        "select list(distinct identifier_type) from identity.identifiers "
        "where profile_key in (select profile_key from numbered where type_code is null)"
    ).fetchall()[0]
    if strange:
        raise InconsistentEvidenceError(f"unknown identifier types {sorted(strange)}")
    ((missing, older),) = connection.execute(
        f"select (select count(*) from identity.id_edges {scope}) - count(*), "
        "count(*) filter (first_load_id < ends_load_id) from links"
    ).fetchall()
    if missing:
        raise InconsistentEvidenceError(
            f"{missing} rows of identity.id_edges have ends that are not in identity.identifiers; "
            "rebuild both with --full-refresh"
        )
    if older:
        raise InconsistentEvidenceError(
            "identity.id_edges holds edges older than their identifiers; "
            "rebuild both with --full-refresh"
        )


def _name(connection: duckdb.DuckDBPyConnection, resolution: Resolution) -> None:
    """Let the queries below see the resolution, and give the customers their ids."""
    for name in ("customers", "stays", "merges", "refusals"):
        connection.register(f"resolved_{name}", getattr(resolution, name))
    connection.execute(
        f"""
        create or replace temp table customers as
        select place as customer, {_CUSTOMER_ID} as customer_id, is_known, profile_key
        from resolved_customers inner join numbered on customer = place
        """
    )


_CUSTOMER_XREF = f"""
    select
        identifiers.profile_key,
        {list(IDENTIFIER_TYPES)}[identifiers.type_code + 1] as identifier_type,
        customers.customer_id,
        customers.is_known,
        since.loaded_at as valid_from,
        until.loaded_at as valid_to,
        stays.until is null as is_current
    from resolved_stays as stays
    inner join numbered as identifiers on stays.member = identifiers.place
    inner join customers on stays.customer = customers.customer
    inner join loads as since on stays.since = since.load_id
    left join loads as until on stays.until = until.load_id
"""

# A customer is created once and taken over at most once.
_ID_CHANGES = """
    select
        'created:' || customers.customer_id as id_change_key,
        customers.customer_id,
        null as previous_customer_id,
        identifiers.anchored_at as effective_at,
        loads.loaded_at as changed_at,
        'created' as change_type,
        identifiers.first_load_id as load_id,
        'first seen by ' || identifiers.identifier_type || ' on ' || identifiers.entity
        || ' of ' || identifiers.source_name as reason
    from customers
    inner join identity.identifiers on customers.profile_key = identifiers.profile_key
    inner join loads on identifiers.first_load_id = loads.load_id
    union all
    select
        'merged:' || gone.customer_id,
        survivors.customer_id,
        gone.customer_id,
        edges.anchored_at,
        loads.loaded_at,
        'merged',
        merges.load_id,
        edges.left_type || ' and ' || edges.right_type || ' on one ' || edges.entity
        || ' of ' || edges.source_name
    from resolved_merges as merges
    inner join customers as gone on merges.customer = gone.customer
    inner join customers as survivors on merges.survivor = survivors.customer
    inner join links on merges.edge = links.edge
    inner join numbered as lefts on links.left_place = lefts.place
    inner join numbered as rights on links.right_place = rights.place
    inner join identity.id_edges as edges
        on
            edges.left_profile_key = lefts.profile_key
            and edges.right_profile_key = rights.profile_key
    inner join loads on merges.load_id = loads.load_id
"""

_REJECTED_LINKS = """
    select
        edges.left_profile_key,
        edges.right_profile_key,
        edges.left_type,
        edges.right_type,
        edges.source_name,
        edges.entity,
        refusals.rule,
        refusals.reason,
        edges.first_load_id as load_id,
        loads.loaded_at as rejected_at
    from resolved_refusals as refusals
    inner join links on refusals.edge = links.edge
    inner join numbered as lefts on links.left_place = lefts.place
    inner join numbered as rights on links.right_place = rights.place
    inner join identity.id_edges as edges
        on
            edges.left_profile_key = lefts.profile_key
            and edges.right_profile_key = rights.profile_key
    inner join loads on edges.first_load_id = loads.load_id
"""


_QUERIES = {
    "customer_xref": (_CUSTOMER_XREF, "profile_key in (select profile_key from touched)"),
    "id_changes": (
        _ID_CHANGES,
        f"coalesce(previous_customer_id, customer_id) in (select {_CUSTOMER_ID} from touched)",
    ),
    "rejected_links": (_REJECTED_LINKS, "left_profile_key in (select profile_key from touched)"),
}
"""The rows of each table, and which of those stored the touched identifiers decide."""


def _write(connection: duckdb.DuckDBPyConnection, name: str, rows: str, scope: str | None) -> int:
    """Make the rows of a table that are in scope (None: all) those of a query."""
    table, columns = f"identity.{name}", TABLES[name]
    if scope is None:
        (deleted,) = connection.execute(f"delete from {table}").fetchall()[0]
        (added,) = connection.execute(f"insert into {table} {rows}").fetchall()[0]
        return deleted + added
    connection.execute(f"create or replace temp table fresh as {rows}")
    same = " and ".join(f"old.{column} is not distinct from new.{column}" for column in columns)
    key = next(iter(columns))
    (deleted,) = connection.execute(
        f"delete from {table} as old where {scope} and not exists "
        f"(select 1 from fresh as new where old.{key} = new.{key} and {same})"
    ).fetchall()[0]
    (added,) = connection.execute(
        f"insert into {table} select new.* from fresh as new "
        f"anti join {table} as old on old.{key} = new.{key} and {same}"
    ).fetchall()[0]
    connection.execute("drop table fresh")
    return deleted + added

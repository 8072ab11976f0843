"""A small warehouse with planted personal data, and its manifest."""

from typing import Any

import duckdb

EMAIL = "planted.person@example.org"
PHONE = "+4520304050"
NAME = "Plantina Canary-Personsen"

CATEGORIES = {
    "comment": "user.content",
    "email": "user.contact.email",
    "favourite_phone": "user.contact.phone_number",
    "birth_date": "user.demographic.date_of_birth",
    "cookie_id": "user.device.cookie_id",
    "loyalty_id": "user.unique_id",
    "customer_id": "user.unique_id.pseudonymous",
    "category_of_tomorrow": "user.something_new",
}
SCHEMAS = ("identity", "staging", "consent", "journey", "experience", "customer_360", "kpis")


def fill_warehouse(con: duckdb.DuckDBPyConnection, generation: int) -> None:
    """Give every table `generation` rows of that generation, so that a torn file would show."""
    for schema in [
        "identity",
        "staging",
        "consent",
        "journey",
        "experience",
        "customer_360",
        "kpis",
    ]:
        con.execute(f"create schema if not exists {schema}")
    con.execute("begin transaction")
    con.execute(
        "create or replace table journey.touchpoints as "
        "select range as touchpoint_id, $1::bigint as generation, "
        "uuid '6f1f0f5e-0000-0000-0000-000000000001' as profile_key from range(1000 + $1)",
        [generation],
    )
    con.execute(
        "create or replace table experience.feedback as "
        "select 'f1' as feedback_id, $1::bigint as generation, $2 as comment",
        [generation, f"call {PHONE}, {NAME}"],
    )
    con.execute(
        "create or replace table customer_360.customers as select 'c1' as customer_id, "
        "$1::bigint as generation, $2 as email, $3 as favourite_phone, "
        "date '1980-01-01' as birth_date, 'cookie' as cookie_id, 'L1' as loyalty_id, "
        "'x' as category_of_tomorrow, 12.50::decimal(18,2) as monetary, "
        "true as is_analytics_permitted",
        [generation, EMAIL, PHONE],
    )
    con.execute("create or replace view kpis.latest as select generation from journey.touchpoints")
    con.execute("create or replace table journey.as_of as select date '2026-11-20' as as_of_date")
    con.execute(
        "create or replace table identity.customer_xref as "
        "select profile_key, 'c1' as customer_id, true as is_known, true as is_current "
        "from journey.touchpoints limit 1"
    )
    con.execute(
        "create or replace table consent.consent_state as select 'c1' as customer_id, "
        "null::uuid as contact_point_key, 'analytics' as purpose, true as is_permitted"
    )
    con.execute("create or replace table identity.contact_points as select $1 as value", [EMAIL])
    con.execute("create or replace table staging.stg_contacts as select $1 as email", [EMAIL])
    con.execute("commit")


def make_manifest(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Describe every table of the warehouse as dbt would."""
    nodes: dict[str, Any] = {}
    for schema, table, column in con.execute(
        "select schema_name, table_name, column_name from duckdb_columns() where not internal"
    ).fetchall():
        node = nodes.setdefault(
            f"model.cx_pipeline.{table}",
            {
                "resource_type": "model",
                "schema": schema,
                "name": table,
                "alias": table,
                "description": f"One row per test of {table}; it's quoted.",
                "config": {"materialized": "table"},
                "columns": {},
            },
        )
        category = CATEGORIES.get(column)
        node["columns"][column] = {
            "description": f"The {column}'s value.",
            "config": {"meta": {"data_category": category} if category else {}},
        }
    return {"nodes": nodes, "sources": {}}

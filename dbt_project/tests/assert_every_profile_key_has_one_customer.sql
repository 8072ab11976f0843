{{ config(
    meta={
        "description": "The key of every staged row is in the map, with one current customer.",
        "dagster": {"ref": {"name": "customer_identities"}},
    },
) }}

{% set entities = [
    "contacts",
    "orders",
    "web_events",
    "message_events",
    "cases",
    "survey_responses",
    "reviews",
    "store_visits",
    "consent_events",
    "contracts",
    "devices",
] %}

-- A fact whose key has no current customer is lost to every reader; one with two counts twice.
-- depends_on: {{ ref("customer_identities") }}
with profile_keys as (
    {% for entity in entities %}
    select distinct stg_{{ entity }}.profile_key
    from {{ ref("stg_" ~ entity) }} as stg_{{ entity }}
    where stg_{{ entity }}.profile_key is not null
    {{ "union" if not loop.last }}
    {% endfor %}
),

customers_by_key as (
    select
        customer_xref.profile_key,
        count(*) as customer_count,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
    group by customer_xref.profile_key
),

wrong_keys as (
    select
        profile_keys.profile_key,
        coalesce(customers_by_key.customer_count, 0) as customer_count,
    from profile_keys
    left join customers_by_key
        on profile_keys.profile_key = customers_by_key.profile_key
    where coalesce(customers_by_key.customer_count, 0) <> 1
)

select * from wrong_keys

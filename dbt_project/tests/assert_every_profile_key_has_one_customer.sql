{{ config(
    meta={
        "description": "The key of every staged row and every identifier is in the map, with a current customer.",
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

-- A fact whose key has no current customer is lost to every reader. Every key that an earlier load
-- brought is an identifier; that none has two customers is for customer_profiles to test.
-- depends_on: {{ ref("customer_identities") }}
with profile_keys as (
    select identifiers.profile_key from {{ ref("identifiers") }} as identifiers
    {% for entity in entities %}
    {% set staged = ref("stg_" ~ entity) %}
    union all
    select stg_{{ entity }}.profile_key from {{ staged }} as stg_{{ entity }}
    where
        stg_{{ entity }}.profile_key is not null
        and {{ of_unchecked_loads(staged) or "true" }}
    {% endfor %}
),

customer_xref as (
    select customer_xref.profile_key
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

lost_keys as (
    select profile_keys.profile_key from profile_keys
    anti join customer_xref
        on profile_keys.profile_key = customer_xref.profile_key
)

select * from lost_keys

{{ config(
    meta={
        "description": "The periods of a key in the map follow each other without gap or overlap.",
        "dagster": {"ref": {"name": "customer_identities"}},
    },
) }}
-- depends_on: {{ ref("customer_identities") }}

-- The periods of a key in the map follow each other without gap or overlap; the last one is open.
-- Most keys have one, and it is open; that none has two open ones, customer_profiles tests.
with ended as (
    select distinct customer_xref.profile_key
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.valid_to is not null
),

periods as (
    select
        customer_xref.profile_key,
        customer_xref.valid_from,
        customer_xref.valid_to,
        customer_xref.is_current,
        lead(customer_xref.valid_from) over (
            partition by customer_xref.profile_key
            order by customer_xref.valid_from
        ) as next_valid_from,
    from {{ source("identity", "customer_xref") }} as customer_xref
    semi join ended
        on customer_xref.profile_key = ended.profile_key
),

wrong_periods as (
    select
        periods.profile_key,
        periods.valid_from,
    from periods
    where
        periods.valid_to is distinct from periods.next_valid_from
        or periods.valid_to <= periods.valid_from
    union all
    select
        customer_xref.profile_key,
        customer_xref.valid_from,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current <> (customer_xref.valid_to is null)
)

select * from wrong_periods

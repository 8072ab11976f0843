{{ config(
    meta={
        "description": "The history of customer ids explains every customer of the map.",
        "dagster": {"ref": {"name": "customer_identities"}},
    },
) }}
-- depends_on: {{ ref("customer_identities") }}

-- Every customer of the map appeared once, was merged away at most once, and is then not in the
-- map any more.
with id_changes as (
    select * from {{ source("identity", "id_changes") }}
),

customers as (
    select distinct customer_xref.customer_id
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

created as (
    select
        id_changes.customer_id,
        count(*) as change_count,
    from id_changes
    where id_changes.change_type = 'created'
    group by id_changes.customer_id
),

merged as (
    select
        id_changes.previous_customer_id as customer_id,
        count(*) as change_count,
    from id_changes
    where id_changes.change_type = 'merged'
    group by id_changes.previous_customer_id
),

unexplained as (
    select coalesce(customers.customer_id, created.customer_id, merged.customer_id) as customer_id
    from customers
    full outer join created
        on customers.customer_id = created.customer_id
    full outer join merged
        on coalesce(customers.customer_id, created.customer_id) = merged.customer_id
    where
        coalesce(created.change_count, 0) <> 1
        or merged.change_count > 1
        or (customers.customer_id is null) = (merged.customer_id is null)
)

select * from unexplained

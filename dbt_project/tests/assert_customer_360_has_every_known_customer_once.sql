{{ config(
    meta={
        "description": "Customer 360 holds every known customer of the map, once.",
        "dagster": {"ref": {"name": "customers"}},
    },
) }}

with known_customers as (
    select distinct customer_xref.customer_id
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current and customer_xref.is_known
),

customers as (
    select
        customers.customer_id,
        count(*) as row_count,
    from {{ ref("customers") }} as customers
    group by customers.customer_id
),

differences as (
    select
        coalesce(known_customers.customer_id, customers.customer_id) as customer_id,
        customers.row_count,
    from known_customers
    full join customers
        on known_customers.customer_id = customers.customer_id
    where
        known_customers.customer_id is null
        or customers.row_count is distinct from 1
)

select * from differences

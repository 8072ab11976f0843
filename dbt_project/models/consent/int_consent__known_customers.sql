{{ config(materialized="ephemeral") }}

with known_customers as (
    select customer_xref.customer_id
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current and customer_xref.is_known
)

select * from known_customers

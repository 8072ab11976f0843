{{ config(materialized="ephemeral") }}

with customer_identities as (
    select * from {{ ref("customer_identities") }}
),

known_customers as (
    select customer_identities.customer_id
    from customer_identities
    where customer_identities.is_known
)

select * from known_customers

{{ config(
    meta={
        "description": "Orders and their amounts are neither lost nor doubled on the way to customer 360.",
        "dagster": {"ref": {"name": "customers"}},
    },
) }}

-- No order of a known customer, nor a refund, is lost or counted twice on the way to the customer
-- 360. One that a till with a wrong clock dated after the as-of day counts when its day has come.
with of_orders as (
    select
        count(*) filter (where not coalesce(orders.is_refund, false)) as order_count,
        coalesce(sum(orders.total_amount_base), 0) as order_amount,
    from {{ ref("orders") }} as orders
    inner join {{ source("identity", "customer_xref") }} as customer_xref
        on orders.profile_key = customer_xref.profile_key
    inner join {{ ref("as_of") }} as as_of
        on orders.event_date <= as_of.as_of_date
    where
        customer_xref.is_current
        and customer_xref.is_known
        and not coalesce(orders.is_cancelled, false)
),

of_customers as (
    select
        coalesce(sum(customers.order_count), 0) as order_count,
        coalesce(sum(customers.order_amount), 0) as order_amount,
    from {{ ref("customers") }} as customers
),

differences as (
    select
        of_orders.order_count,
        of_orders.order_amount,
        of_customers.order_count as customers_order_count,
        of_customers.order_amount as customers_order_amount,
    from of_orders
    cross join of_customers
    where
        of_orders.order_count <> of_customers.order_count
        or of_orders.order_amount <> of_customers.order_amount
)

select * from differences

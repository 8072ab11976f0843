with as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

order_lines as (
    select
        order_lines.profile_key,
        order_lines.order_line_id,
        order_lines.order_id,
        order_lines.product_id,
        order_lines.category,
        order_lines.line_number,
        order_lines.line_amount_base,
        order_lines.event_date,
        order_lines.ordered_at,
        order_lines.is_replenishable,
    from {{ ref("order_lines") }} as order_lines
    where
        order_lines.quantity > 0
        and order_lines.event_date <= (select as_of.as_of_date from as_of)
),

-- The lines of an order that has not arrived yet count, so it is those of cancelled ones that go,
-- and those of receipts for goods taken back, whatever sign their quantities bear.
orders_not_kept as (
    select orders.order_id from {{ ref("orders") }} as orders
    where orders.is_cancelled or orders.is_refund
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

customer_lines as (
    select
        touched_profiles.customer_id,
        order_lines.order_id,
        order_lines.product_id,
        order_lines.category,
        order_lines.line_amount_base,
        order_lines.event_date,
        order_lines.is_replenishable,
        row(
            order_lines.ordered_at,
            order_lines.order_id,
            coalesce(order_lines.line_number, 0),
            order_lines.order_line_id
        ) as recency,
    from order_lines
    inner join touched_profiles
        on order_lines.profile_key = touched_profiles.profile_key
    left join orders_not_kept
        on order_lines.order_id = orders_not_kept.order_id
    where orders_not_kept.order_id is null
),

lines_by_customer as (
    select
        customer_lines.customer_id,
        count(distinct customer_lines.product_id) as product_count,
        count(distinct customer_lines.category) as category_count,
        count(distinct customer_lines.order_id) filter (
            where customer_lines.is_replenishable
        ) as replenishable_order_count,
        arg_max(customer_lines.product_id, customer_lines.recency) filter (
            where customer_lines.is_replenishable
        ) as last_replenishable_product_id,
        max(customer_lines.event_date) filter (
            where customer_lines.is_replenishable
        ) as last_replenishable_order_date,
    from customer_lines
    group by customer_lines.customer_id
),

favourite_categories as (
    select
        customer_lines.customer_id,
        customer_lines.category as favourite_category,
    from customer_lines
    where customer_lines.category is not null
    group by customer_lines.customer_id, customer_lines.category
    qualify
        row_number() over (
            partition by customer_lines.customer_id
            order by
                count(distinct customer_lines.order_id) desc,
                sum(customer_lines.line_amount_base) desc,
                customer_lines.category
        ) = 1
),

customer_products as (
    select
        lines_by_customer.*,
        favourite_categories.favourite_category,
    from lines_by_customer
    left join favourite_categories
        on lines_by_customer.customer_id = favourite_categories.customer_id
)

select * from customer_products

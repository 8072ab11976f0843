with orders as (
    select * from {{ ref("orders") }}
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_orders as (
    select
        touched_profiles.customer_id,
        orders.order_id,
        orders.channel,
        orders.store_id,
        orders.event_date,
        orders.ordered_at,
        orders.total_amount_base as amount,
        coalesce(orders.discount_amount, 0) > 0 as is_discounted,
        orders.coupon_code is not null as has_coupon,
        coalesce(orders.is_cancelled, false) as is_cancelled,
        coalesce(orders.is_refund, false) as is_refund,
        coalesce(orders.is_returned, false) as is_returned,
        coalesce(orders.unit_count, 0) as unit_count,
        date_diff('day', orders.event_date, as_of.as_of_date) as age_days,
    from orders
    inner join touched_profiles
        on orders.profile_key = touched_profiles.profile_key
    cross join as_of
    -- An order dated ahead is not a purchase yet; it would make a customer recent who is not.
    where orders.event_date <= as_of.as_of_date
),

-- Goods taken back at a till: the receipt lowers what was bought, and is no purchase.
kept_orders as (
    select * from customer_orders
    where not customer_orders.is_cancelled and not customer_orders.is_refund
),

amounts_by_customer as (
    select
        customer_orders.customer_id,
        round(sum(customer_orders.unit_count), 3) as unit_count,
        cast(sum(customer_orders.amount) as decimal(18, 2)) as order_amount,
        cast(
            sum(customer_orders.amount) filter (where customer_orders.age_days < 90)
            as decimal(18, 2)
        ) as order_amount_90d,
        cast(
            sum(customer_orders.amount) filter (where customer_orders.age_days < 365)
            as decimal(18, 2)
        ) as order_amount_365d,
    from customer_orders
    where not customer_orders.is_cancelled
    group by customer_orders.customer_id
),

orders_by_customer as (
    select
        kept_orders.customer_id,
        count(*) as order_count,
        count(*) filter (where kept_orders.age_days < 90) as order_count_90d,
        count(*) filter (where kept_orders.age_days < 365) as order_count_365d,
        count(*) filter (where kept_orders.channel = 'store') as store_order_count,
        count(*) filter (
            where kept_orders.channel in ('web', 'app', 'marketplace')
        ) as digital_order_count,
        count(*) filter (where kept_orders.is_discounted) as discounted_order_count,
        count(*) filter (where kept_orders.has_coupon) as coupon_order_count,
        count(*) filter (where kept_orders.is_returned) as returned_order_count,
        count(distinct kept_orders.channel) as order_channel_count,
        count(distinct kept_orders.event_date) as order_day_count,
        count(distinct kept_orders.store_id) as store_count,
        -- Orders without an exchange rate have no amount.
        sum(kept_orders.amount) / nullif(count(kept_orders.amount), 0) as mean_order_amount,
        max(kept_orders.amount) as largest_order_amount,
        -- The id makes a tie come out the same every time; without a struct, a null is passed over.
        arg_min(
            struct_pack(channel := kept_orders.channel),
            row(kept_orders.ordered_at, kept_orders.order_id)
        ) as first_order,
        arg_max(
            struct_pack(amount := kept_orders.amount, channel := kept_orders.channel),
            row(kept_orders.ordered_at, kept_orders.order_id)
        ) as last_order,
        min(kept_orders.event_date) as first_order_date,
        max(kept_orders.event_date) as last_order_date,
        min(kept_orders.age_days) as days_since_last_order,
        date_diff('day', min(kept_orders.event_date), max(kept_orders.event_date))
            as days_first_to_last_order,
    from kept_orders
    group by kept_orders.customer_id
),

cancelled_by_customer as (
    select
        customer_orders.customer_id,
        count(*) as cancelled_order_count,
    from customer_orders
    where customer_orders.is_cancelled and not customer_orders.is_refund
    group by customer_orders.customer_id
),

favourite_stores as (
    select
        kept_orders.customer_id,
        kept_orders.store_id as favourite_store_id,
    from kept_orders
    where kept_orders.store_id is not null
    group by kept_orders.customer_id, kept_orders.store_id
    qualify
        row_number() over (
            partition by kept_orders.customer_id
            order by count(*) desc, max(kept_orders.ordered_at) desc, kept_orders.store_id
        ) = 1
),

favourite_channels as (
    select
        kept_orders.customer_id,
        kept_orders.channel as favourite_order_channel,
    from kept_orders
    where kept_orders.channel is not null
    group by kept_orders.customer_id, kept_orders.channel
    qualify
        row_number() over (
            partition by kept_orders.customer_id
            order by count(*) desc, max(kept_orders.ordered_at) desc, kept_orders.channel
        ) = 1
),

ordering_customers as (
    select amounts_by_customer.customer_id from amounts_by_customer
    union
    select cancelled_by_customer.customer_id from cancelled_by_customer
),

customer_order_summaries as (
    select
        ordering_customers.customer_id,
        amounts_by_customer.* exclude (customer_id),
        orders_by_customer.* exclude (customer_id, first_order, last_order),
        orders_by_customer.first_order.channel as first_order_channel,
        orders_by_customer.last_order.amount as last_order_amount,
        orders_by_customer.last_order.channel as last_order_channel,
        cancelled_by_customer.cancelled_order_count,
        favourite_stores.favourite_store_id,
        favourite_channels.favourite_order_channel,
    from ordering_customers
    left join amounts_by_customer
        on ordering_customers.customer_id = amounts_by_customer.customer_id
    left join orders_by_customer
        on ordering_customers.customer_id = orders_by_customer.customer_id
    left join cancelled_by_customer
        on ordering_customers.customer_id = cancelled_by_customer.customer_id
    left join favourite_stores
        on ordering_customers.customer_id = favourite_stores.customer_id
    left join favourite_channels
        on ordering_customers.customer_id = favourite_channels.customer_id
)

select * from customer_order_summaries

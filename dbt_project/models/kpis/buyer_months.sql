with orders as (
    select
        orders.order_id,
        orders.profile_key,
        orders.event_date,
    from {{ ref("orders") }} as orders
    where not coalesce(orders.is_cancelled, false) and not coalesce(orders.is_refund, false)
),

customer_profiles as (
    select
        customer_profiles.profile_key,
        customer_profiles.customer_id,
    from {{ ref("customer_profiles") }} as customer_profiles
),

customers as (
    select
        customers.customer_id,
        customers.country,
    from {{ ref("customers") }} as customers
),

as_of as (
    select * from {{ ref("as_of") }}
),

customer_orders as (
    select
        customers.customer_id,
        customers.country,
        orders.event_date,
        lag(orders.event_date) over customer_history as previous_date,
        lead(orders.event_date) over customer_history as next_date,
        min(orders.event_date) over (partition by customers.customer_id) as first_date,
    from orders
    inner join customer_profiles
        on orders.profile_key = customer_profiles.profile_key
    inner join customers
        on customer_profiles.customer_id = customers.customer_id
    window
        customer_history as (
            partition by customers.customer_id order by orders.event_date, orders.order_id
        )
),

-- An order speaks for the months in which it is the customer's latest, for a year at most; a month
-- is judged on its last day, the running month on the last day of data. So an order that counts
-- until a day counts in the months before that day's own, and until after the data in all of them.
orders_until as (
    select
        customer_orders.country,
        cast(date_trunc('month', customer_orders.event_date) as date) as ordered_in,
        cast(date_trunc('month', customer_orders.first_date) as date) as first_ordered_in,
        least(
            customer_orders.next_date, cast(customer_orders.event_date + interval 365 day as date)
        ) as latest_until,
        cast(customer_orders.previous_date + interval 365 day as date) as repeat_until,
        as_of.as_of_date,
        cast(last_day(as_of.as_of_date) + 1 as date) as after_the_data,
    from customer_orders
    cross join as_of
    where customer_orders.event_date <= as_of.as_of_date
),

-- Counted before each month gets its row: 267,000 orders are 375 such counts, and were 1.2 million
-- rows of an order and a month.
counts as (
    select
        orders_until.country,
        orders_until.ordered_in,
        orders_until.first_ordered_in = orders_until.ordered_in as is_first_month,
        cast(date_trunc('month', case
            when orders_until.latest_until > orders_until.as_of_date
                then orders_until.after_the_data
            else orders_until.latest_until
        end) as date) as latest_before,
        cast(date_trunc('month', case
            when orders_until.repeat_until > orders_until.as_of_date
                then orders_until.after_the_data
            else orders_until.repeat_until
        end) as date) as repeat_before,
        count(*) as buyer_count,
    from orders_until
    group by all
),

months as (
    select
        counts.*,
        unnest(
            generate_series(counts.ordered_in, counts.latest_before, interval 1 month)
        ) as month_at,
    from counts
),

months_of_counts as (
    select
        months.* exclude (month_at),
        cast(months.month_at as date) as month_start,
    from months
),

buyer_months as (
    select
        concat_ws(
            '/', months_of_counts.month_start, coalesce(months_of_counts.country, 'unknown')
        ) as buyer_month_id,
        months_of_counts.country,
        cast(sum(months_of_counts.buyer_count) as bigint) as buyer_count,
        cast(coalesce(sum(months_of_counts.buyer_count) filter (
            where months_of_counts.month_start < months_of_counts.repeat_before
        ), 0) as bigint) as repeat_buyer_count,
        cast(coalesce(sum(months_of_counts.buyer_count) filter (
            where months_of_counts.month_start = months_of_counts.ordered_in
        ), 0) as bigint) as active_buyer_count,
        cast(coalesce(sum(months_of_counts.buyer_count) filter (
            where
                months_of_counts.month_start = months_of_counts.ordered_in
                and months_of_counts.is_first_month
        ), 0) as bigint) as new_buyer_count,
        months_of_counts.month_start,
    from months_of_counts
    where months_of_counts.month_start < months_of_counts.latest_before
    group by months_of_counts.month_start, months_of_counts.country
)

select * from buyer_months

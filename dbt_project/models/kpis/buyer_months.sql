with orders as (
    select
        orders.order_id,
        orders.profile_key,
        orders.event_date,
    from {{ ref("orders") }} as orders
    where not coalesce(orders.is_cancelled, false)
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

-- An order speaks for the months in which it is the customer's latest, for a year at most.
-- That is a few rows an order; joining every month with its year of orders would be twelve.
months_of_orders as (
    select
        customer_orders.*,
        unnest(
            generate_series(
                cast(date_trunc('month', customer_orders.event_date) as date),
                least(
                    coalesce(customer_orders.next_date, as_of.as_of_date),
                    cast(customer_orders.event_date + interval 365 day as date),
                    as_of.as_of_date
                ),
                interval 1 month
            )
        ) as month_at,
        as_of.as_of_date,
    from customer_orders
    cross join as_of
),

-- A month is judged on its last day, the running month on the last day of data.
measured as (
    select
        months_of_orders.* exclude (month_at),
        cast(months_of_orders.month_at as date) as month_start,
        least(last_day(months_of_orders.month_at), months_of_orders.as_of_date) as measured_on,
    from months_of_orders
),

latest_orders as (
    select * from measured
    where
        measured.measured_on >= measured.event_date
        and measured.measured_on < measured.event_date + interval 365 day
        and (measured.next_date is null or measured.measured_on < measured.next_date)
),

buyer_months as (
    select
        concat_ws('/', latest_orders.month_start, coalesce(latest_orders.country, 'unknown'))
            as buyer_month_id,
        latest_orders.country,
        count(*) as buyer_count,
        count(*) filter (
            where latest_orders.previous_date > latest_orders.measured_on - interval 365 day
        ) as repeat_buyer_count,
        count(*) filter (
            where latest_orders.event_date >= latest_orders.month_start
        ) as active_buyer_count,
        count(*) filter (
            where latest_orders.first_date >= latest_orders.month_start
        ) as new_buyer_count,
        latest_orders.month_start,
    from latest_orders
    group by latest_orders.month_start, latest_orders.country
)

select * from buyer_months

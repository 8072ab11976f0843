{{ config(materialized="ephemeral") }}

with as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

-- By the day of arrival: a parcel that is dated ahead has not arrived, though it was shipped.
deliveries as (
    select * from {{ ref("deliveries") }} as deliveries
    where
        {{ local_date("deliveries.delivered_at") }}
        <= (select as_of.as_of_date from as_of)
),

returns as (
    select * from {{ ref("returns") }} as returns
    where returns.event_date <= (select as_of.as_of_date from as_of)
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

customer_deliveries as (
    select
        touched_profiles.customer_id,
        deliveries.delivery_id,
        deliveries.is_on_time,
        deliveries.days_late,
        deliveries.delivered_at,
    from deliveries
    inner join touched_profiles
        on deliveries.profile_key = touched_profiles.profile_key
),

deliveries_by_customer as (
    select
        customer_deliveries.customer_id,
        count(*) as delivery_count,
        count(customer_deliveries.is_on_time) as promised_delivery_count,
        count(*) filter (where not customer_deliveries.is_on_time) as late_delivery_count,
        max(customer_deliveries.days_late) as most_days_late,
        -- In a struct: arg_max passes over a null, and would judge by an older delivery.
        arg_max(
            struct_pack(is_on_time := customer_deliveries.is_on_time),
            row(customer_deliveries.delivered_at, customer_deliveries.delivery_id)
        ) as last_delivery,
    from customer_deliveries
    group by customer_deliveries.customer_id
),

returns_by_customer as (
    select
        touched_profiles.customer_id,
        count(*) as return_count,
        cast(sum(returns.refund_amount_base) as decimal(18, 2)) as refund_amount,
        max(returns.event_date) as last_return_date,
    from returns
    inner join touched_profiles
        on returns.profile_key = touched_profiles.profile_key
    group by touched_profiles.customer_id
),

delivered_or_returned as (
    select deliveries_by_customer.customer_id from deliveries_by_customer
    union
    select returns_by_customer.customer_id from returns_by_customer
),

customer_deliveries_and_returns as (
    select
        delivered_or_returned.customer_id,
        deliveries_by_customer.* exclude (customer_id, last_delivery),
        deliveries_by_customer.last_delivery.is_on_time as is_last_delivery_on_time,
        returns_by_customer.* exclude (customer_id),
    from delivered_or_returned
    left join deliveries_by_customer
        on delivered_or_returned.customer_id = deliveries_by_customer.customer_id
    left join returns_by_customer
        on delivered_or_returned.customer_id = returns_by_customer.customer_id
)

select * from customer_deliveries_and_returns

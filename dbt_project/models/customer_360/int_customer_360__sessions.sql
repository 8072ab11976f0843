{{ config(materialized="ephemeral") }}

with sessions as (
    select * from {{ ref("sessions") }}
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_sessions as (
    select
        touched_profiles.customer_id,
        sessions.product_view_count,
        sessions.has_checkout,
        sessions.has_order,
        sessions.event_date,
        date_diff('day', sessions.event_date, as_of.as_of_date) as age_days,
    from sessions
    inner join touched_profiles
        on sessions.profile_key = touched_profiles.profile_key
    cross join as_of
    where sessions.event_date <= (select as_of.as_of_date from as_of)
),

sessions_by_customer as (
    select
        customer_sessions.customer_id,
        count(*) filter (where customer_sessions.age_days < 30) as session_count_30d,
        count(*) filter (where customer_sessions.age_days < 90) as session_count_90d,
        cast(
            sum(customer_sessions.product_view_count) filter (
                where customer_sessions.age_days < 90
            ) as bigint
        ) as product_view_count_90d,
        count(*) filter (
            where customer_sessions.age_days < 90 and customer_sessions.has_checkout
        ) as checkout_session_count_90d,
        count(*) filter (
            where
                customer_sessions.age_days < 30
                and customer_sessions.has_checkout
                and not customer_sessions.has_order
        ) as abandoned_checkout_count_30d,
        max(customer_sessions.event_date) as last_session_date,
    from customer_sessions
    group by customer_sessions.customer_id
)

select * from sessions_by_customer

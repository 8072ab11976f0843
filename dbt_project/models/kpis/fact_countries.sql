with customer_countries as (
    select
        customer_profiles.profile_key,
        customers.country,
    from {{ ref("customer_profiles") }} as customer_profiles
    inner join {{ ref("customers") }} as customers
        on customer_profiles.customer_id = customers.customer_id
),

stores as (
    select
        stores.store_id,
        stores.country,
    from {{ ref("stores") }} as stores
),

-- The store that hands an order out did not sell it.
order_facts as (
    select
        'order:' || orders.order_id as fact_id,
        orders.profile_key,
        stores.country,
    from {{ ref("orders") }} as orders
    left join stores
        on orders.store_id = stores.store_id
),

case_facts as (
    select
        'case:' || cases.case_id as fact_id,
        cases.profile_key,
        cases.country,
    from {{ ref("cases") }} as cases
),

session_facts as (
    select
        sessions.session_id as fact_id,
        sessions.profile_key,
        sessions.country,
    from {{ ref("sessions") }} as sessions
),

feedback_facts as (
    select
        feedback.feedback_id as fact_id,
        feedback.profile_key,
        coalesce(feedback.country, stores.country) as country,
    from {{ ref("feedback") }} as feedback
    left join stores
        on feedback.store_id = stores.store_id
),

facts as (
    select * from order_facts
    union all
    select * from case_facts
    union all
    select * from session_facts
    union all
    select * from feedback_facts
),

fact_countries as (
    select
        facts.fact_id,
        coalesce(facts.country, customer_countries.country) as country,
    from facts
    left join customer_countries
        on facts.profile_key = customer_countries.profile_key
)

select * from fact_countries

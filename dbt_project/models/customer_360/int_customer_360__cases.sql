{{ config(materialized="ephemeral") }}

with cases as (
    select * from {{ ref("cases") }}
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_cases as (
    select
        touched_profiles.customer_id,
        cases.case_id,
        cases.category,
        cases.channel,
        cases.first_response_minutes,
        cases.resolution_hours,
        cases.is_open,
        cases.is_reopened,
        cases.is_first_contact_resolution,
        cases.opened_at,
        cases.event_date,
        date_diff('day', cases.event_date, as_of.as_of_date) as age_days,
    from cases
    inner join touched_profiles
        on cases.profile_key = touched_profiles.profile_key
    cross join as_of
    where cases.event_date <= as_of.as_of_date
),

cases_by_customer as (
    select
        customer_cases.customer_id,
        count(*) as case_count,
        count(*) filter (where customer_cases.age_days < 365) as case_count_365d,
        count(*) filter (where customer_cases.is_open) as open_case_count,
        count(*) filter (where customer_cases.is_reopened) as reopened_case_count,
        count(*) filter (
            where customer_cases.is_first_contact_resolution
        ) as first_contact_resolution_count,
        -- Rounded: a sum of doubles differs in its last bits from run to run.
        round(avg(customer_cases.first_response_minutes), 2) as mean_first_response_minutes,
        round(avg(customer_cases.resolution_hours), 2) as mean_resolution_hours,
        max(customer_cases.event_date) as last_case_date,
        -- In a struct: arg_max passes over a null, and would name an older case's category.
        arg_max(
            struct_pack(category := customer_cases.category, channel := customer_cases.channel),
            row(customer_cases.opened_at, customer_cases.case_id)
        ) as last_case,
    from customer_cases
    group by customer_cases.customer_id
),

customer_case_summaries as (
    select
        cases_by_customer.* exclude (last_case),
        cases_by_customer.last_case.category as last_case_category,
        cases_by_customer.last_case.channel as last_case_channel,
    from cases_by_customer
)

select * from customer_case_summaries

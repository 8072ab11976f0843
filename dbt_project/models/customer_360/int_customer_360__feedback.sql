{{ config(materialized="ephemeral") }}

with feedback as (
    select * from {{ ref("feedback") }} as feedback
    where feedback.normalised_score is not null
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_feedback as (
    select
        touched_profiles.customer_id,
        feedback.feedback_id,
        feedback.metric,
        feedback.nps_group,
        feedback.touchpoint,
        feedback.case_id,
        feedback.score,
        feedback.normalised_score,
        feedback.event_date,
        date_diff('day', feedback.event_date, as_of.as_of_date) as age_days,
        row(feedback.answered_at, feedback.feedback_id) as recency,
    from feedback
    inner join touched_profiles
        on feedback.profile_key = touched_profiles.profile_key
    cross join as_of
    where feedback.event_date <= as_of.as_of_date
),

feedback_by_customer as (
    select
        customer_feedback.customer_id,
        count(*) as feedback_count,
        count(*) filter (where customer_feedback.age_days < 365) as feedback_count_365d,
        count(*) filter (where customer_feedback.metric = 'rating') as review_count,
        -- An answer on another scale than 0 to 10 has no group.
        arg_max(customer_feedback.score, customer_feedback.recency) filter (
            where customer_feedback.nps_group is not null
        ) as last_nps_score,
        arg_max(customer_feedback.nps_group, customer_feedback.recency) filter (
            where customer_feedback.nps_group is not null
        ) as last_nps_group,
        max(customer_feedback.event_date) filter (
            where customer_feedback.nps_group is not null
        ) as last_nps_date,
        -- Rounded: a sum of doubles differs in its last bits from run to run.
        round(
            avg(customer_feedback.normalised_score) filter (
                where customer_feedback.metric = 'csat'
            ),
            4
        ) as mean_csat_normalised_score,
        arg_max(customer_feedback.score, customer_feedback.recency) filter (
            where customer_feedback.metric = 'csat'
        ) as last_csat_score,
        arg_max(customer_feedback.score, customer_feedback.recency) filter (
            where customer_feedback.metric = 'csat' and customer_feedback.case_id is not null
        ) as last_case_csat_score,
        round(
            avg(customer_feedback.normalised_score) filter (
                where customer_feedback.metric = 'ces'
            ),
            4
        ) as mean_ces_normalised_score,
        round(
            avg(customer_feedback.normalised_score) filter (
                where customer_feedback.metric = 'rating'
            ),
            4
        ) as mean_review_normalised_score,
        arg_max(customer_feedback.score, customer_feedback.recency) filter (
            where customer_feedback.metric = 'rating'
        ) as last_review_score,
        -- In a struct: arg_max passes over a null, and would name an older answer's touchpoint.
        arg_max(
            struct_pack(
                normalised_score := customer_feedback.normalised_score,
                touchpoint := customer_feedback.touchpoint
            ),
            customer_feedback.recency
        ) as last_feedback,
        max(customer_feedback.event_date) as last_feedback_date,
    from customer_feedback
    group by customer_feedback.customer_id
),

customer_feedback_summaries as (
    select
        feedback_by_customer.* exclude (last_feedback),
        feedback_by_customer.last_feedback.normalised_score as last_normalised_score,
        feedback_by_customer.last_feedback.touchpoint as last_feedback_touchpoint,
    from feedback_by_customer
)

select * from customer_feedback_summaries

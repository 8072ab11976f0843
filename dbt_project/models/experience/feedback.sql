{{
    config(
        materialized="incremental",
        incremental_strategy="by_changed_key",
        unique_key="feedback_id",
        pre_hook="{{ expect_changed_profiles() }}",
    )
}}

{% set last_load = last_load_id() %}
{% set changed_feedback %}
    select 'survey:' || response_id from {{ ref("stg_survey_responses") }}
    where _load_id > {{ last_load }}
    union all
    select 'review:' || review_id from {{ ref("stg_reviews") }}
    where _load_id > {{ last_load }}
    union all
    select touchpoint_id from {{ ref("stg_inherited_profiles") }}
    where _load_id > {{ last_load }}
{% endset %}
{% do find_changed_keys("feedback_id", changed_feedback) %}

with survey_responses as (
    select * from {{ ref("stg_survey_responses") }}
    where {{ has_changed_key("feedback_id", "'survey:' || response_id") }}
),

reviews as (
    select * from {{ ref("stg_reviews") }}
    where {{ has_changed_key("feedback_id", "'review:' || review_id") }}
),

-- Of an answer that names nobody: whose its order or case is.
inherited as (
    select touchpoint_id, profile_key, _load_id
    from {{ ref("stg_inherited_profiles") }}
),

survey_feedback as (
    select
        'survey:' || survey_responses.response_id as feedback_id,
        survey_responses.profile_key,
        survey_responses.order_id,
        survey_responses.case_id,
        survey_responses.store_id,
        survey_responses.employee_id,
        cast(null as varchar) as product_id,
        survey_responses.survey_id,
        survey_responses.question_id,
        'survey' as feedback_type,
        case
            when lower(survey_responses.metric) in ('nps', 'csat', 'ces')
                then lower(survey_responses.metric)
            else 'other'
        end as metric,
        survey_responses.touchpoint,
        survey_responses.channel,
        nullif(trim(survey_responses.comment), '') as comment,
        survey_responses.language,
        survey_responses.country,
        survey_responses._source as source_name,
        survey_responses.score,
        survey_responses.scale_min,
        survey_responses.scale_max,
        survey_responses.sent_at,
        survey_responses.answered_at,
        survey_responses._load_id,
    from survey_responses
),

review_feedback as (
    select
        'review:' || reviews.review_id as feedback_id,
        reviews.profile_key,
        reviews.order_id,
        cast(null as varchar) as case_id,
        reviews.store_id,
        cast(null as varchar) as employee_id,
        reviews.product_id,
        cast(null as varchar) as survey_id,
        cast(null as varchar) as question_id,
        'review' as feedback_type,
        'rating' as metric,
        case
            -- An order beside it proves the purchase; it is the product that is judged.
            when reviews.product_id is not null then 'product'
            when reviews.order_id is not null then 'order'
            when reviews.store_id is not null then 'store_visit'
        end as touchpoint,
        'web' as channel,
        nullif(
            concat_ws(
                chr(10), nullif(trim(reviews.title), ''), nullif(trim(reviews.body), '')
            ),
            ''
        ) as comment,
        reviews.language,
        cast(null as varchar) as country,
        reviews._source as source_name,
        reviews.rating as score,
        reviews.scale_min,
        reviews.scale_max,
        cast(null as timestamp) as sent_at,
        reviews.reviewed_at as answered_at,
        reviews._load_id,
    from reviews
),

answers as (
    select * from survey_feedback
    union all by name
    select * from review_feedback
),

-- The customary scales where the source names none: NPS 0-10, CSAT and ratings 1-5, CES 1-7.
scaled as (
    select
        answers.* exclude (profile_key, scale_min, scale_max, _load_id),
        coalesce(answers.profile_key, inherited.profile_key) as profile_key,
        greatest(answers._load_id, inherited._load_id) as _load_id,
        coalesce(answers.scale_min, case answers.metric when 'nps' then 0 else 1 end) as scale_min,
        coalesce(
            answers.scale_max,
            case answers.metric when 'nps' then 10 when 'ces' then 7 else 5 end
        ) as scale_max,
    from answers
    left join inherited
        on answers.feedback_id = inherited.touchpoint_id
),

normalised as (
    select
        scaled.*,
        case
            when scaled.score between scaled.scale_min and scaled.scale_max
                then
                    (scaled.score - scaled.scale_min)
                    / nullif(scaled.scale_max - scaled.scale_min, 0)
        end as normalised_score,
    from scaled
),

feedback as (
    select
        normalised.feedback_id,
        normalised.profile_key,
        normalised.order_id,
        normalised.case_id,
        normalised.store_id,
        normalised.employee_id,
        normalised.product_id,
        normalised.survey_id,
        normalised.question_id,
        normalised.feedback_type,
        normalised.metric,
        -- Reichheld 2003: 9 and 10 recommend, 0 to 6 do not.
        case
            when
                normalised.metric <> 'nps'
                or normalised.scale_max <> 10
                or normalised.normalised_score is null
                then null
            when normalised.score >= 9 then 'promoter'
            when normalised.score >= 7 then 'passive'
            else 'detractor'
        end as nps_group,
        normalised.touchpoint,
        normalised.channel,
        normalised.comment,
        normalised.language,
        normalised.country,
        normalised.source_name,
        normalised.score,
        normalised.scale_min,
        normalised.scale_max,
        normalised.normalised_score,
        -- The top two of five boxes, 4 and 5.
        case when normalised.metric = 'csat' then normalised.normalised_score >= 0.75 end
            as is_satisfied,
        normalised.comment is not null as has_text,
        {{ local_date("normalised.answered_at") }} as event_date,
        normalised.sent_at,
        normalised.answered_at,
        normalised._load_id,
    from normalised
)

select * from feedback

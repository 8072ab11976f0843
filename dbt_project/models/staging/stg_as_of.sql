{# Facts dated after now (a till with a wrong clock, a planned visit) do not move the day. #}
{% set now_utc = now_utc() %}

with latest_facts as (
    select max(ordered_at) as latest_at
    from {{ ref('stg_orders') }} where ordered_at <= {{ now_utc }}
    union all
    select max(delivered_at) from {{ ref('stg_deliveries') }} where delivered_at <= {{ now_utc }}
    union all
    select max(returned_at) from {{ ref('stg_returns') }} where returned_at <= {{ now_utc }}
    union all
    select max(occurred_at) from {{ ref('stg_web_events') }} where occurred_at <= {{ now_utc }}
    union all
    select max(occurred_at) from {{ ref('stg_message_events') }} where occurred_at <= {{ now_utc }}
    union all
    select max(opened_at) from {{ ref('stg_cases') }} where opened_at <= {{ now_utc }}
    union all
    select max(answered_at)
    from {{ ref('stg_survey_responses') }} where answered_at <= {{ now_utc }}
    union all
    select max(reviewed_at) from {{ ref('stg_reviews') }} where reviewed_at <= {{ now_utc }}
    union all
    select max(visited_at) from {{ ref('stg_store_visits') }} where visited_at <= {{ now_utc }}
    union all
    select max(occurred_at) from {{ ref('stg_device_events') }} where occurred_at <= {{ now_utc }}
),

latest_day as (
    select {{ local_date('coalesce(max(latest_at), ' ~ now_utc ~ ')') }} as as_of_date
    from latest_facts
)

select * from latest_day

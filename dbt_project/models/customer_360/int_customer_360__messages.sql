{{ config(materialized="ephemeral") }}

with message_touchpoints as (
    select
        touchpoints.profile_key,
        touchpoints.channel,
        touchpoints.event_name,
        touchpoints.event_date,
        touchpoints.occurred_at,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.touchpoint_type = 'message'
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_messages as (
    select
        touched_profiles.customer_id,
        message_touchpoints.channel,
        message_touchpoints.event_name,
        message_touchpoints.event_date,
        message_touchpoints.occurred_at,
        date_diff('day', message_touchpoints.event_date, as_of.as_of_date) as age_days,
    from message_touchpoints
    inner join touched_profiles
        on message_touchpoints.profile_key = touched_profiles.profile_key
    cross join as_of
    where message_touchpoints.event_date <= (select as_of.as_of_date from as_of)
),

messages_by_customer as (
    select
        customer_messages.customer_id,
        count(*) filter (
            where
                customer_messages.channel = 'email'
                and customer_messages.event_name = 'sent'
                and customer_messages.age_days < 90
        ) as email_sent_count_90d,
        count(*) filter (
            where
                customer_messages.channel = 'email'
                and customer_messages.event_name = 'opened'
                and customer_messages.age_days < 90
        ) as email_open_count_90d,
        count(*) filter (
            where
                customer_messages.channel = 'email'
                and customer_messages.event_name = 'clicked'
                and customer_messages.age_days < 90
        ) as email_click_count_90d,
        count(*) filter (
            where
                customer_messages.channel = 'sms'
                and customer_messages.event_name = 'sent'
                and customer_messages.age_days < 90
        ) as sms_sent_count_90d,
        max(customer_messages.event_date) filter (
            where customer_messages.event_name in ('opened', 'clicked')
        ) as last_message_reaction_date,
        arg_max(
            customer_messages.event_name,
            row(customer_messages.occurred_at, customer_messages.event_name)
        ) filter (
            where
                customer_messages.channel = 'email'
                and customer_messages.event_name in ('delivered', 'bounced', 'opened', 'clicked')
        ) = 'bounced' as is_email_bouncing,
    from customer_messages
    group by customer_messages.customer_id
)

select * from messages_by_customer

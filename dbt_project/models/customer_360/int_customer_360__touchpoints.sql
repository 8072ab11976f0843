{# Which contact was the last one is looked up afterwards, by int_customer_360__last_touchpoints. #}

with as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

touchpoints as (
    select
        touchpoints.profile_key,
        touchpoints.channel,
        touchpoints.is_digital,
        -- Null where neither acted: such a contact is counted, but in neither direction.
        touchpoints.direction = 'inbound' as is_inbound,
        {{ moves_the_customer() }} as is_move,
        {{ reported_order_id() }} as reported_order_id,
        touchpoints.occurred_at,
        touchpoints.event_date,
        date_diff('day', touchpoints.event_date, (select as_of.as_of_date from as_of)) as age_days,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.event_date <= (select as_of.as_of_date from as_of) and {{ is_contact() }}
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

customer_orders as (
    {{ orders_of_touched_customers() }}
),

-- First by profile and channel, which shrinks millions of rows before the map is joined.
touchpoints_by_channel as (
    select
        touchpoints.profile_key,
        touchpoints.channel,
        touchpoints.is_digital,
        touchpoints.is_inbound,
        touchpoints.is_move,
        touchpoints.reported_order_id,
        count(*) filter (where touchpoints.age_days < 30) as count_30d,
        count(*) filter (where touchpoints.age_days < 90) as count_90d,
        count(*) filter (where touchpoints.age_days < 365) as count_365d,
        min(touchpoints.event_date) as first_date,
        max(touchpoints.event_date) as last_date,
        max(touchpoints.occurred_at) as last_touchpoint_at,
    from touchpoints
    where touchpoints.profile_key in (select touched_profiles.profile_key from touched_profiles)
    group by all
),

touchpoints_by_customer as (
    select
        touched_profiles.customer_id,
        max(touchpoints_by_channel.last_touchpoint_at) as last_touchpoint_at,
        max(touchpoints_by_channel.last_touchpoint_at) filter (
            where touchpoints_by_channel.is_move
        ) as last_move_at,
        cast(sum(touchpoints_by_channel.count_30d) as bigint) as touchpoint_count_30d,
        cast(sum(touchpoints_by_channel.count_90d) as bigint) as touchpoint_count_90d,
        cast(sum(touchpoints_by_channel.count_365d) as bigint) as touchpoint_count_365d,
        cast(
            sum(touchpoints_by_channel.count_90d) filter (
                where touchpoints_by_channel.is_inbound
            ) as bigint
        ) as inbound_touchpoint_count_90d,
        cast(
            sum(touchpoints_by_channel.count_90d) filter (
                where not touchpoints_by_channel.is_inbound
            ) as bigint
        ) as outbound_touchpoint_count_90d,
        cast(
            sum(touchpoints_by_channel.count_365d) filter (
                where touchpoints_by_channel.channel = 'web'
            ) as bigint
        ) as web_touchpoint_count_365d,
        cast(
            sum(touchpoints_by_channel.count_365d) filter (
                where touchpoints_by_channel.channel = 'email'
            ) as bigint
        ) as email_touchpoint_count_365d,
        cast(
            sum(touchpoints_by_channel.count_365d) filter (
                where touchpoints_by_channel.channel = 'sms'
            ) as bigint
        ) as sms_touchpoint_count_365d,
        cast(
            sum(touchpoints_by_channel.count_365d) filter (
                where touchpoints_by_channel.channel = 'store'
            ) as bigint
        ) as store_touchpoint_count_365d,
        cast(
            sum(touchpoints_by_channel.count_365d) filter (
                where touchpoints_by_channel.channel = 'phone'
            ) as bigint
        ) as phone_touchpoint_count_365d,
        -- Nothing is added up where no contact was digital, and that is a share of 0.
        cast(
            coalesce(
                sum(touchpoints_by_channel.count_365d) filter (
                    where touchpoints_by_channel.is_digital
                ),
                0
            ) as bigint
        ) as digital_touchpoint_count_365d,
        count(distinct touchpoints_by_channel.channel) filter (
            where touchpoints_by_channel.count_365d > 0
        ) as channel_count_365d,
        min(touchpoints_by_channel.first_date) as first_touchpoint_date,
        max(touchpoints_by_channel.last_date) filter (
            where touchpoints_by_channel.is_inbound
        ) as last_inbound_date,
    from touchpoints_by_channel
    inner join touched_profiles
        on touchpoints_by_channel.profile_key = touched_profiles.profile_key
    left join customer_orders
        on
            touched_profiles.customer_id = customer_orders.customer_id
            and touchpoints_by_channel.reported_order_id = customer_orders.order_id
    where customer_orders.order_id is null
    group by touched_profiles.customer_id
)

select * from touchpoints_by_customer

{#
    Looking the last contacts up costs a third of carrying them through the aggregation, and a model of
    its own for it half the memory: in one with the counts, 65 million contacts of 5 million customers
    failed with 11.2 GiB; in two, 5 GiB do.

    By profile and not by customer: where 200,000 share one moment, such as those of an imported survey,
    the moment alone would bring each together with all.
#}

with as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

customer_orders as (
    {{ orders_of_touched_customers() }}
),

counted as (
    select * from {{ ref("int_customer_360__touchpoints") }}
),

last_moments as (
    select
        touched_profiles.customer_id,
        touched_profiles.profile_key,
        counted.last_touchpoint_at as occurred_at,
    from counted
    inner join touched_profiles
        on counted.customer_id = touched_profiles.customer_id
    union all
    select
        touched_profiles.customer_id,
        touched_profiles.profile_key,
        counted.last_move_at as occurred_at,
    from counted
    inner join touched_profiles
        on counted.customer_id = touched_profiles.customer_id
    where counted.last_move_at <> counted.last_touchpoint_at
),

-- Of one moment what leads further counts, then the order. The id makes any other tie come out the
-- same every time.
ranked as (
    select
        touchpoints.profile_key,
        touchpoints.touchpoint_type,
        touchpoints.channel,
        touchpoints.stage,
        {{ moves_the_customer() }} as is_move,
        {{ reported_order_id() }} as reported_order_id,
        touchpoints.occurred_at,
        row(
            touchpoints.occurred_at,
            coalesce({{ stage_position("touchpoints.stage") }}, 0),
            touchpoints.touchpoint_type = 'order',
            touchpoints.touchpoint_id
        ) as recency,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.event_date <= (select as_of.as_of_date from as_of) and {{ is_contact() }}
),

last_touchpoints as (
    select
        last_moments.customer_id,
        arg_max(
            struct_pack(
                touchpoint_type := ranked.touchpoint_type,
                channel := ranked.channel
            ),
            ranked.recency
        ) as last_touchpoint,
        arg_max(ranked.stage, ranked.recency) filter (
            where ranked.is_move
        ) as journey_stage,
    from ranked
    inner join last_moments
        on
            ranked.profile_key = last_moments.profile_key
            and ranked.occurred_at = last_moments.occurred_at
    left join customer_orders
        on
            last_moments.customer_id = customer_orders.customer_id
            and ranked.reported_order_id = customer_orders.order_id
    where customer_orders.order_id is null
    group by last_moments.customer_id
)

select
    last_touchpoints.customer_id,
    last_touchpoints.journey_stage,
    last_touchpoints.last_touchpoint.touchpoint_type as last_touchpoint_type,
    last_touchpoints.last_touchpoint.channel as last_touchpoint_channel,
from last_touchpoints

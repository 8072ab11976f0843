{# How long a person may take from one stage to a later one. #}
{% set window_days = 30 %}

with touchpoints as (
    select
        touchpoints.profile_key,
        touchpoints.event_date,
        {{ stage_position("touchpoints.stage") }} as position,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.profile_key is not null and {{ moves_the_customer() }}
),

-- Contracts began years before the rest is known; who of them explored or not, nobody can tell.
first_day as (
    select min(touchpoints.event_date) as event_date
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.touchpoint_type in ('web', 'order', 'store_visit')
),

customer_profiles as (
    select
        customer_profiles.profile_key,
        customer_profiles.customer_id,
    from {{ ref("customer_profiles") }} as customer_profiles
),

as_of as (
    select * from {{ ref("as_of") }}
),

-- After the last stage, inspire, there is none to reach.
stages as (
    select
        stage_names.stage,
        {{ stage_position("stage_names.stage") }} as position,
    from (values ('discover'), ('explore'), ('buy'), ('deliver')) as stage_names (stage)
),

person_days as (
    select
        customer_profiles.customer_id,
        touchpoints.event_date,
        max(touchpoints.position) as deepest_position,
        bit_or(1 << touchpoints.position) as position_bits,
    from touchpoints
    inner join customer_profiles
        on touchpoints.profile_key = customer_profiles.profile_key
    cross join first_day
    where
        touchpoints.position > 0
        and coalesce(touchpoints.event_date >= first_day.event_date, true)
    group by customer_profiles.customer_id, touchpoints.event_date
),

with_outlook as (
    select
        person_days.*,
        max(person_days.deepest_position) over (
            partition by person_days.customer_id
            order by person_days.event_date
            range between current row and interval {{ window_days }} day following
        ) as deepest_position_ahead,
    from person_days
),

person_stage_days as (
    select
        with_outlook.customer_id,
        with_outlook.event_date,
        stages.position,
        with_outlook.deepest_position_ahead,
    from with_outlook
    inner join stages
        on (with_outlook.position_bits >> stages.position) & 1 = 1
),

-- A person's first day in a stage within the month; days whose window is still open are left out.
entries as (
    select
        person_stage_days.customer_id,
        person_stage_days.position,
        cast(date_trunc('month', person_stage_days.event_date) as date) as month_start,
        min(person_stage_days.event_date) as entered_on,
        arg_min(person_stage_days.deepest_position_ahead, person_stage_days.event_date)
            as deepest_position_ahead,
    from person_stage_days
    group by all
),

closed_entries as (
    select entries.* from entries
    cross join as_of
    where entries.entered_on + interval {{ window_days }} day <= as_of.as_of_date
),

stage_conversions as (
    select
        concat_ws('/', closed_entries.month_start, stages.stage) as stage_conversion_id,
        stages.stage,
        count(*) as person_count,
        count(*) filter (
            where closed_entries.deepest_position_ahead > closed_entries.position
        ) as converted_count,
        closed_entries.month_start,
    from closed_entries
    inner join stages
        on closed_entries.position = stages.position
    group by closed_entries.month_start, stages.stage
)

select * from stage_conversions

{{ config(
    materialized='incremental',
    incremental_strategy='by_day',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{#
    A session belongs to the day on which it starts. New events of a day may lengthen a session of
    the day before or join two, and a corrected one may part what it held together: so the days to
    build are those of the changed events and those of every session within the timeout of them. Of
    each such day the events from the day before (does a session reach into it?) to the end of its
    longest session are read.
#}
{% set timeout = 'interval ' ~ var('session_timeout_minutes') ~ ' minute' %}
{% set last_load = last_load_id() %}
{% set touchpoints = (
    adapter.get_relation(this.database, this.schema, 'touchpoints')
    if execute and is_incremental() else none
) %}
{% set days_query %}
    with new_events as (
        select event_id, occurred_at from {{ ref('stg_web_events') }}
        where _load_id > {{ last_load }}
    ),

    event_days as (
        select {{ local_date('occurred_at') }} as event_date from new_events
        {% if touchpoints %}
        -- Where a corrected event stood before; touchpoints is built after this table.
        union
        select touchpoints.event_date
        from {{ touchpoints }} as touchpoints
        semi join new_events on touchpoints.touchpoint_id = 'web:' || new_events.event_id
        -- It may be older, when a run was killed between the two, or newer, when it was built alone:
        -- then every day is built.
        union
        select sessions.event_date
        from {{ this }} as sessions
        where
            exists (from new_events)
            and (
                select coalesce(max(touchpoints._load_id), 0) from {{ touchpoints }} as touchpoints
                where touchpoints.touchpoint_type = 'web'
            ) <> {{ last_load }}
        {% endif %}
    ),

    spans as (
        select
            {{ start_of_local_date('event_date') }} - {{ timeout }} as from_at,
            {{ start_of_local_date('event_date + 1') }} + {{ timeout }} as to_at,
        from event_days
    )

    select event_date from event_days
    union
    -- And every day that they reach into: a part that comes loose after midnight is a session of
    -- the day after.
    select cast(reached.day_at as date) from (
        select
            unnest(generate_series(
                sessions.event_date, {{ local_date('sessions.ended_at') }}, interval 1 day
            )) as day_at,
        from {{ this }} as sessions
        inner join spans
            on sessions.started_at <= spans.to_at and sessions.ended_at >= spans.from_at
    ) as reached
{% endset %}
{% set days = changed_days(days_query) %}
{% set days_read = none if days is none else dates_of(
    'select distinct cast(day_at as date) as day from (select'
    ~ ' unnest(generate_series(event_date - 1, last_date, interval 1 day)) as day_at'
    ~ ' from (select event_date, greatest(event_date + 1, coalesce(max(' ~ local_date('ended_at')
    ~ '), event_date)) as last_date from ' ~ changed_days_table() ~ ' left join ' ~ this
    ~ ' using (event_date) group by event_date))'
) %}

with identified as not materialized (
    select
        *,
        -- Who logs in half-way goes on with the same session: the browser counts, not the person.
        coalesce(cookie_id, device_id, cast(profile_key as varchar)) as visitor,
        case
        {%- for identifier_type in identifier_types() %}
            when {{ identifier_type }} is not null then {{ loop.index }}
        {%- endfor %}
        end as identifier_rank,
    from {{ ref('stg_web_events') }}
    where profile_key is not null and {{ on_days('occurred_at', days_read) }}
),

-- Each visitor once: the hash took a quarter of this model's processor time.
visitors as (
    select visitor, {{ text_hash('visitor') }} as visitor_hash
    from (select distinct visitor from identified)
),

web_events as (
    select identified.*, visitors.visitor_hash
    from identified
    inner join visitors
        on identified.visitor = visitors.visitor
),

-- Deepest stage as a number, so that it can be compared.
stages as (
    select stage, position
    from (
        values ('discover', 1), ('explore', 2), ('buy', 3), ('deliver', 4), ('inspire', 5)
    ) as stages (stage, position)
),

event_positions as (
    select event_stages.event_name, stages.position
    from {{ ref('stg_event_stages') }} as event_stages
    inner join stages
        on event_stages.stage = stages.stage
    where event_stages.touchpoint_type = 'web'
),

-- Only what the session needs goes through the sorts below: with all columns of the event they
-- took 53 s of processor time for 10 million events, like this 12 s.
visits as (
    select
        web_events.visitor_hash,
        web_events.occurred_at,
        web_events.profile_key,
        web_events.event_name = 'page_viewed' as is_page_view,
        web_events.event_name = 'product_viewed' as is_product_view,
        web_events.event_name like 'checkout%' as is_checkout,
        web_events.event_name = 'order_completed' as is_order,
        cast(coalesce(event_positions.position, other_events.position) as tinyint) as position,
        -- Best identifier first, then the earliest; the last bits only break ties.
        (cast(web_events.identifier_rank as bigint) << 60)
        + (epoch_ms(web_events.occurred_at) << 19)
        + cast(hash(web_events.profile_key) & 524287 as bigint) as profile_order,
        web_events._load_id,
    from web_events
    left join event_positions
        on web_events.event_name = event_positions.event_name
    left join event_positions as other_events
        on other_events.event_name = '*'
),

with_starts as (
    select
        *,
        coalesce(
            occurred_at - lag(occurred_at) over (partition by visitor_hash order by occurred_at)
            > {{ timeout }},
            true
        ) as is_start,
    from visits
),

-- `range` counts events of one instant together, whichever of them comes first.
numbered as (
    select
        *,
        sum(cast(is_start as int)) over (
            partition by visitor_hash
            order by occurred_at
            range between unbounded preceding and current row
        ) as session_number,
    from with_starts
),

folded as (
    select
        visitor_hash,
        session_number,
        arg_min(profile_key, profile_order) as profile_key,
        count(*) as event_count,
        count(*) filter (where is_page_view) as page_view_count,
        count(*) filter (where is_product_view) as product_view_count,
        bool_or(is_checkout) as has_checkout,
        bool_or(is_order) as has_order,
        max(position) as deepest_position,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        max(_load_id) as _load_id,
    from numbered
    group by visitor_hash, session_number
    having {{ on_days('min(occurred_at)', days) }}
),

first_events as (
    select
        folded.visitor_hash,
        folded.session_number,
        min(web_events.event_id) as event_id,
        arg_min(
            {
                'landing_url': web_events.page_url,
                'referrer': web_events.referrer,
                'utm_id': web_events.utm_id,
                'utm_source': web_events.utm_source,
                'utm_medium': web_events.utm_medium,
                'utm_campaign': web_events.utm_campaign,
                'device_type': web_events.device_type,
                'country': web_events.country,
                'source_name': web_events._source
            },
            web_events.event_id
        ) as landing,
    from web_events
    inner join folded
        on
            web_events.visitor_hash = folded.visitor_hash
            and web_events.occurred_at = folded.started_at
    group by folded.visitor_hash, folded.session_number
),

sessions as (
    select
        'session:' || first_events.event_id as session_id,
        folded.profile_key,
        first_events.landing.landing_url,
        first_events.landing.referrer,
        first_events.landing.utm_id,
        first_events.landing.utm_source,
        first_events.landing.utm_medium,
        first_events.landing.utm_campaign,
        first_events.landing.device_type,
        first_events.landing.country,
        stages.stage as deepest_stage,
        folded.event_count,
        folded.page_view_count,
        folded.product_view_count,
        -- date_diff would count the seconds that begin between the two.
        (epoch_us(folded.ended_at) - epoch_us(folded.started_at)) // 1000000 as duration_seconds,
        folded.has_checkout,
        folded.has_order,
        {{ local_date('folded.started_at') }} as event_date,
        folded.started_at,
        folded.ended_at,
        first_events.landing.source_name,
        folded._load_id,
    from folded
    inner join first_events
        on
            folded.visitor_hash = first_events.visitor_hash
            and folded.session_number = first_events.session_number
    left join stages
        on folded.deepest_position = stages.position
)

select * from sessions

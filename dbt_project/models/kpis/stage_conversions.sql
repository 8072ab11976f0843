with entries as (
    select * from {{ ref("int_customer_360__stage_entries") }}
),

as_of as (
    select * from {{ ref("as_of") }}
),

-- What nobody known did converts nobody.
first_steps as (
    select
        {{ stage_position("touchpoints.stage") }} as position,
        min(touchpoints.event_date) as first_date,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.profile_key is not null and {{ moves_the_customer() }}
    group by all
),

-- After the last stage, inspire, there is none to reach.
positions as (
    select
        stage_names.stage,
        {{ stage_position("stage_names.stage") }} as position,
    from (values ('discover'), ('explore'), ('buy'), ('deliver')) as stage_names (stage)
),

-- Orders are often known for longer than surveys, reviews and visits: until a later stage is
-- recorded at all, that nobody reached one says nothing.
stages as (
    select
        positions.stage,
        positions.position,
        min(first_steps.first_date) as later_known_from,
    from positions
    inner join first_steps
        on positions.position < first_steps.position
    group by positions.stage, positions.position
),

-- Whom nobody may watch from stage to stage; of nameless visitors those who said no.
objectors as (
    select customers.customer_id from {{ ref("customers") }} as customers
    where not customers.is_analytics_permitted
    union all
    select consent_state.customer_id
    from {{ ref("consent_state") }} as consent_state
    left join {{ ref("customers") }} as customers
        on consent_state.customer_id = customers.customer_id
    where consent_state.purpose = 'analytics' and customers.customer_id is null
    group by consent_state.customer_id
    having bool_or(not consent_state.is_permitted)
),

-- Days whose window is still open are left out.
closed_entries as (
    select entries.* from entries
    cross join as_of
    anti join objectors
        on entries.customer_id = objectors.customer_id
    where entries.entered_on + interval {{ stage_window_days() }} day <= as_of.as_of_date
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
        on
            closed_entries.position = stages.position
            and closed_entries.entered_on >= stages.later_known_from
    group by closed_entries.month_start, stages.stage
)

select * from stage_conversions

{#
    Most months of most persons stand: a day of news moves 1 in 70 of 830,000 persons. Windows and
    months of all of them take 5 s.
#}
{{
    config(
        materialized="incremental",
        incremental_strategy="by_customer",
        on_schema_change="fail",
        pre_hook=[
            "{{ expect_evidence(this.identifier) }}",
            "{{ note_evidence(evidence_of_stage_entries()) }}",
            "{{ find_customers_who_moved_on() if judges_some() else '' }}",
        ],
        post_hook=["{{ keep_evidence() }}", "{{ forget_changed_touchpoints() }}"],
    )
}}
-- depends_on: {{ ref("identifiers") }}, {{ ref("as_of") }}, {{ ref("customers_as_built") }}

with touchpoints as (
    select
        touchpoints.profile_key,
        touchpoints.event_date,
        {{ stage_position("touchpoints.stage") }} as position,
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.profile_key is not null and {{ moves_the_customer() }}
),

first_day as (
    {{ first_day_of_the_journey() }}
),

customer_profiles as (
    select
        customer_profiles.profile_key,
        customer_profiles.customer_id,
    from {{ ref("customer_profiles") }} as customer_profiles
    {% if judges_some() %}
        where customer_profiles.customer_id in (
            select judged.customer_id from {{ customers_to_judge() }} as judged
        )
    {% endif %}
),

-- After the last stage, inspire, there is none to reach.
stages as (
    select
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
            range between current row and interval {{ stage_window_days() }} day following
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

-- A person's first day in a stage within the month.
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
)

select * from entries

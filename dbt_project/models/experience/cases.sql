{{
    config(
        materialized="incremental",
        incremental_strategy="by_key",
        unique_key="case_id",
        pre_hook="{{ expect_changed_profiles() }}",
    )
}}

with stg_cases as (
    -- Of a case that names nobody: whose its order is.
    select
        cases.* exclude (profile_key, _load_id),
        coalesce(cases.profile_key, inherited.profile_key) as profile_key,
        greatest(cases._load_id, inherited._load_id) as _load_id,
    from {{ ref("stg_cases") }} as cases
    left join {{ ref("stg_inherited_profiles") }} as inherited
        on 'case:' || cases.case_id = inherited.touchpoint_id
),

stg_case_messages as (
    select * from {{ ref("stg_case_messages") }}
),

{% if is_incremental() %}
    -- A new message changes the case that it belongs to.
    touched_cases as (
        select stg_cases.case_id
        from stg_cases
        where
            stg_cases._load_id
            > (select coalesce(max(cases._case_load_id), 0) from {{ this }} as cases)
        union
        select stg_case_messages.case_id
        from stg_case_messages
        where
            stg_case_messages._load_id
            > (select coalesce(max(cases._message_load_id), 0) from {{ this }} as cases)
        union
        select unnest(stg_case_messages.previous_case_ids) as case_id
        from stg_case_messages
        where
            stg_case_messages._load_id
            > (select coalesce(max(cases._message_load_id), 0) from {{ this }} as cases)
    ),
{% endif %}

source_cases as (
    select stg_cases.* from stg_cases
    {% if is_incremental() %}
        inner join touched_cases
            on stg_cases.case_id = touched_cases.case_id
    {% endif %}
),

messages_by_case as (
    select
        stg_case_messages.case_id,
        count(*) as message_count,
        count(*) filter (
            where stg_case_messages.author_type = 'customer'
        ) as customer_message_count,
        count(*) filter (
            where
                stg_case_messages.author_type = 'employee'
                and coalesce(stg_case_messages.is_public, true)
        ) as employee_message_count,
        min(stg_case_messages.sent_at) filter (
            where
                stg_case_messages.author_type = 'employee'
                and coalesce(stg_case_messages.is_public, true)
        ) as first_employee_message_at,
        max(stg_case_messages.sent_at) as last_message_at,
        max(stg_case_messages._load_id) as _load_id,
    from stg_case_messages
    {% if is_incremental() %}
        where stg_case_messages.case_id in (select touched_cases.case_id from touched_cases)
    {% endif %}
    group by stg_case_messages.case_id
),

with_messages as (
    select
        source_cases.case_id,
        source_cases.profile_key,
        source_cases.order_id,
        source_cases.product_id,
        source_cases.employee_id,
        source_cases.channel,
        source_cases.category,
        source_cases.priority,
        source_cases.status,
        source_cases.country,
        source_cases._source as source_name,
        coalesce(source_cases.reopened_count, 0) as reopened_count,
        coalesce(messages_by_case.message_count, 0) as message_count,
        coalesce(messages_by_case.customer_message_count, 0) as customer_message_count,
        coalesce(messages_by_case.employee_message_count, 0) as employee_message_count,
        case
            when source_cases.status is null then source_cases.resolved_at is null
            else lower(source_cases.status) not in ('solved', 'resolved', 'closed')
        end as is_open,
        source_cases.opened_at,
        coalesce(source_cases.first_responded_at, messages_by_case.first_employee_message_at)
            as first_responded_at,
        source_cases.resolved_at,
        messages_by_case.last_message_at,
        source_cases._load_id as _case_load_id,
        messages_by_case._load_id as _message_load_id,
    from source_cases
    left join messages_by_case
        on source_cases.case_id = messages_by_case.case_id
),

cases as (
    select
        with_messages.case_id,
        with_messages.profile_key,
        with_messages.order_id,
        with_messages.product_id,
        with_messages.employee_id,
        with_messages.channel,
        with_messages.category,
        with_messages.priority,
        with_messages.status,
        with_messages.country,
        with_messages.source_name,
        with_messages.reopened_count,
        with_messages.message_count,
        with_messages.customer_message_count,
        with_messages.employee_message_count,
        -- A response before the opening is a clock error, not a fast answer.
        case
            when with_messages.first_responded_at >= with_messages.opened_at
                then
                    date_diff(
                        'second', with_messages.opened_at, with_messages.first_responded_at
                    ) / 60.0
        end as first_response_minutes,
        case
            when
                not with_messages.is_open
                and with_messages.resolved_at >= with_messages.opened_at
                then
                    date_diff('second', with_messages.opened_at, with_messages.resolved_at)
                    / 3600.0
        end as resolution_hours,
        with_messages.is_open,
        with_messages.reopened_count > 0 as is_reopened,
        -- Zendesk's one-touch resolution: solved with at most one public answer. How many answers
        -- it took, nobody knows of a case without messages.
        case
            when with_messages.is_open or with_messages.reopened_count > 0 then false
            when with_messages.message_count > 0 then with_messages.employee_message_count <= 1
        end as is_first_contact_resolution,
        {{ local_date("with_messages.opened_at") }} as event_date,
        with_messages.opened_at,
        with_messages.first_responded_at,
        with_messages.resolved_at,
        with_messages.last_message_at,
        greatest(with_messages._case_load_id, coalesce(with_messages._message_load_id, 0))
            as _load_id,
        with_messages._case_load_id,
        with_messages._message_load_id,
    from with_messages
)

select * from cases

{{ config(
    meta={
        "description": "Every refusal has an identifier that can be used.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- A withdrawal without any identifier, or with none but a cut-off address, binds nobody, and the
-- consent that it took back would stand. A statement that is no longer read, because its entity's
-- `where:` leaves it out, stays in the log and stops nothing. A source of which nothing may stop a
-- run says so by `max_share: 1`.
with statements_read as (
    select stg_consent_events.consent_event_id as record_id
    from {{ ref("stg_consent_events") }} as stg_consent_events
    where stg_consent_events.profile_key is null
    union
    select stg_message_events.event_id as record_id
    from {{ ref("stg_message_events") }} as stg_message_events
    where stg_message_events.profile_key is null
),

nameless as (
    select
        consent_log.statement_source,
        consent_log.source_name,
        consent_log.consent_event_id,
        consent_log.revision,
        consent_log._load_id,
    from {{ ref("consent_log") }} as consent_log
    inner join {{ source("sources", "quarantine_limits") }} as quarantine_limits
        on consent_log.source_name = quarantine_limits.source_name
    -- A click's id in the log has the purpose behind it.
    semi join statements_read
        on
            case consent_log.statement_source
                when 'message_events'
                    then regexp_replace(consent_log.consent_event_id, ':[^:]*$', '')
                else consent_log.consent_event_id
            end = statements_read.record_id
    where
        consent_log.profile_key is null
        and consent_log.status <> 'granted'
        and quarantine_limits.max_share < 1
),

uncorrected as (
    select
        nameless.source_name,
        count(*) as row_count,
        min(nameless.consent_event_id) as one_consent_event_id,
        max(nameless._load_id) as last_load_id,
    from nameless
    anti join {{ ref("consent_log") }} as later
        on
            nameless.statement_source = later.statement_source
            and nameless.source_name = later.source_name
            and nameless.consent_event_id = later.consent_event_id
            and nameless.revision < later.revision
    group by nameless.source_name
),

unbound as (
    select
        format(
            '{}: {} refusals name nobody, such as consent_event_id {} (the newest came with load '
            || '{}): crm_id, email, phone and the other identifiers are empty, blocked or cannot '
            || 'be read. Correct the export, or how sources.yml reads it, and run again; what '
            || 'binds nobody, such as the words of a nameless banner, is left out by `where:`.',
            uncorrected.source_name,
            uncorrected.row_count,
            uncorrected.one_consent_event_id,
            uncorrected.last_load_id
        ) as problem,
    from uncorrected
)

select * from unbound

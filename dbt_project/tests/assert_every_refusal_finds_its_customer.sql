{{ config(
    meta={
        "description": "No refusal stands under a key that the map does not hold.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- A refusal under a key that the map does not hold would be forgotten. `cx run --full-refresh`
-- logs it once more, under the key that its record has now.
with customer_xref as (
    select customer_xref.profile_key
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

unknown_refusals as (
    select
        consent_log.consent_log_id,
        consent_log.statement_source,
        consent_log.source_name,
        consent_log.consent_event_id,
        consent_log.revision,
    from {{ ref("consent_log") }} as consent_log
    anti join customer_xref
        on consent_log.profile_key = customer_xref.profile_key
    where
        consent_log.status <> 'granted'
        -- A record without any identifier is nobody's.
        and consent_log.profile_key is not null
),

-- Few are left to be looked up; ranking every statement of the log cost three times as much.
forgotten as (
    select unknown_refusals.consent_log_id from unknown_refusals
    anti join {{ ref("consent_log") }} as later
        on
            unknown_refusals.statement_source = later.statement_source
            and unknown_refusals.source_name = later.source_name
            and unknown_refusals.consent_event_id = later.consent_event_id
            and unknown_refusals.revision < later.revision
)

select * from forgotten

{{ config(
    meta={
        "description": "No refusal stands under a key that the map does not hold.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- A refusal under a key that the map does not hold would be forgotten. `cx run --full-refresh`
-- logs it once more, under the key that its record has now.
with latest_statements as (
    select
        consent_log.consent_log_id,
        consent_log.profile_key,
        consent_log.status,
    from {{ ref("consent_log") }} as consent_log
    qualify
        row_number() over (
            partition by consent_log.statement_source, consent_log.consent_event_id
            order by consent_log.revision desc
        ) = 1
),

customer_xref as (
    select customer_xref.profile_key
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

forgotten as (
    select latest_statements.consent_log_id
    from latest_statements
    left join customer_xref
        on latest_statements.profile_key = customer_xref.profile_key
    where
        latest_statements.status <> 'granted'
        -- A record without any identifier is nobody's.
        and latest_statements.profile_key is not null
        and customer_xref.profile_key is null
)

select * from forgotten

{{ config(
    meta={
        "description": "Every purpose that somebody refused is declared in purposes.yml.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- Somebody said no to a purpose that config/purposes.yml does not name, and it binds nothing. Name
-- the purpose there, or say in the columns of sources.yml which of its keys is meant.
with latest_refusals as (
    select
        consent_log.consent_event_id,
        consent_log.source_name,
        consent_log.purpose,
        consent_log.status,
    from {{ ref("consent_log") }} as consent_log
    qualify
        row_number() over (
            partition by consent_log.statement_source, consent_log.consent_event_id
            order by consent_log.revision desc
        ) = 1
),

purposes as (
    select stg_purposes.purpose from {{ ref("stg_purposes") }} as stg_purposes
),

undeclared as (
    select
        latest_refusals.source_name,
        latest_refusals.purpose,
        count(*) as refusal_count,
    from latest_refusals
    where
        latest_refusals.status not in ('granted', 'pending')
        and latest_refusals.purpose not in (select purposes.purpose from purposes)
    group by latest_refusals.source_name, latest_refusals.purpose
)

select * from undeclared

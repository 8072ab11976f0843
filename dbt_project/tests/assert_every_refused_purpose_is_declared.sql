{{ config(
    meta={
        "description": "Every purpose that somebody refused is declared in purposes.yml.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- Somebody said no to a purpose that config/purposes.yml does not name, and it binds nothing. Name
-- the purpose there, or say in the columns of sources.yml which of its keys is meant.
with purposes as (
    select stg_purposes.purpose from {{ ref("stg_purposes") }} as stg_purposes
),

undeclared_refusals as (
    select
        consent_log.source_name,
        consent_log.purpose,
        consent_log.statement_source,
        consent_log.consent_event_id,
        consent_log.revision,
    from {{ ref("consent_log") }} as consent_log
    where
        consent_log.status not in ('granted', 'pending')
        and consent_log.purpose not in (select purposes.purpose from purposes)
),

-- What was corrected since no longer counts.
undeclared as (
    select
        undeclared_refusals.source_name || ': purpose "' || undeclared_refusals.purpose
        || '" is refused (statements: ' || count(*) || ') and not named in config/purposes.yml, so '
        || 'that binds nothing. Name it there, or map it to one that is.' as problem,
    from undeclared_refusals
    anti join {{ ref("consent_log") }} as later
        on
            undeclared_refusals.statement_source = later.statement_source
            and undeclared_refusals.source_name = later.source_name
            and undeclared_refusals.consent_event_id = later.consent_event_id
            and undeclared_refusals.revision < later.revision
    group by undeclared_refusals.source_name, undeclared_refusals.purpose
)

select * from undeclared

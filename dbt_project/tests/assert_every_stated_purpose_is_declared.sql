{{ config(
    severity="warn",
    meta={
        "description": "Every purpose and channel that somebody granted is declared in purposes.yml.",
        "dagster": {"ref": {"name": "consent_log"}},
    },
) }}

-- A grant on a purpose or channel that config/purposes.yml does not name permits nothing.
with consent_log as (
    select
        consent_log.source_name,
        consent_log.purpose,
        consent_log.channel,
        count(*) as statement_count,
    from {{ ref("consent_log") }} as consent_log
    where consent_log.status = 'granted'
    group by consent_log.source_name, consent_log.purpose, consent_log.channel
),

purposes as (
    select
        purposes.purpose,
        purposes.channel,
    from {{ ref("stg_purposes") }} as purposes
),

undeclared as (
    select
        consent_log.source_name || ': purpose "' || consent_log.purpose || '"'
        || coalesce(' on channel "' || consent_log.channel || '"', '')
        || ' is granted (statements: ' || consent_log.statement_count
        || ') and not named in config/purposes.yml, so that permits nothing. Name it there, or map '
        || 'it to one that is.' as problem,
    from consent_log
    where not exists (
        select 1
        from purposes
        where
            purposes.purpose = consent_log.purpose
            and (purposes.channel = consent_log.channel or consent_log.channel is null)
    )
)

select * from undeclared

{{ config(
    materialized='incremental',
    incremental_strategy='append',
) }}

-- Every version of a statement: the log of what was said is written from here.
with accepted as (
    {{ accepted_rows('consent_events', of_each_load=true) }}
),

normalised as (
    select
        consent_event_id,
        {{ normalised_identifiers() }},
        lower(trim(purpose)) as purpose,
        nullif(lower(trim(channel)), '') as channel,
        -- The words that other systems use for the same; any other word stays as it is.
        case
            when regexp_full_match(trim(status), 'granted|opt(ed)?[ _-]?in|subscribed', 'i')
                then 'granted'
            when
                regexp_full_match(
                    trim(status),
                    'withdrawn|opt(ed)?[ _-]?out|unsubscribed|revoked|objected',
                    'i'
                )
                then 'withdrawn'
            else lower(trim(status))
        end as status,
        captured_at,
        expires_at,
        legal_basis,
        mechanism,
        notice_version,
        evidence_ref,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

keyed as (
    {{ with_profile_key('normalised') }}
)

select * from keyed

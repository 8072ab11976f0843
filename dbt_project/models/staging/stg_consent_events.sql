{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='consent_event_id',
) }}

with accepted as (
    {{ accepted_rows('consent_events') }}
),

normalised as (
    select
        consent_event_id,
        {{ normalised_identifiers() }},
        lower(trim(purpose)) as purpose,
        lower(trim(channel)) as channel,
        lower(trim(status)) as status,
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

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='event_id',
) }}

with accepted as (
    {{ accepted_rows('message_events') }}
),

normalised as (
    select
        event_id,
        {{ normalised_identifiers() }},
        lower(trim(channel)) as channel,
        {{ message_event_name() }} as event_name,
        occurred_at,
        message_id,
        campaign_id,
        campaign_name,
        lower(trim(message_type)) as message_type,
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

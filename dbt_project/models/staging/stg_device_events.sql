{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='device_event_id',
) }}

with accepted as (
    {{ accepted_rows('device_events') }}
),

typed as (
    select
        device_event_id,
        device_serial,
        lower(trim(event_name)) as event_name,
        occurred_at,
        metric,
        value,
        unit,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

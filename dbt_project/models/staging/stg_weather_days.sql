{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='weather_day_id',
) }}

with accepted as (
    {{ accepted_rows('weather_days') }}
),

typed as (
    select
        weather_day_id,
        weather_date,
        city,
        upper(trim(country)) as country,
        temperature_celsius,
        precipitation_mm,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

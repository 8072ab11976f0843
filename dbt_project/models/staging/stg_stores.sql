{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='store_id',
) }}

with accepted as (
    {{ accepted_rows('stores') }}
),

typed as (
    select
        store_id,
        store_name,
        upper(trim(country)) as country,
        city,
        time_zone,
        opened_date,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

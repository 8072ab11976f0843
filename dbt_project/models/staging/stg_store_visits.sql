{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='store_visit_id',
) }}

with accepted as (
    {{ accepted_rows('store_visits') }}
),

normalised as (
    select
        store_visit_id,
        {{ normalised_identifiers() }},
        store_id,
        visited_at,
        lower(trim(visit_type)) as visit_type,
        employee_id,
        order_id,
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

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='employee_id',
) }}

with accepted as (
    {{ accepted_rows('employees') }}
),

typed as (
    select
        employee_id,
        store_id,
        department,
        role,
        hired_date,
        left_date,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

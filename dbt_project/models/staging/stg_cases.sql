{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='case_id',
) }}

with accepted as (
    {{ accepted_rows('cases') }}
),

normalised as (
    select
        case_id,
        {{ normalised_identifiers() }},
        opened_at,
        lower(trim(channel)) as channel,
        lower(trim(status)) as status,
        category,
        lower(trim(priority)) as priority,
        order_id,
        product_id,
        employee_id,
        first_responded_at,
        resolved_at,
        reopened_count,
        subject,
        upper(trim(country)) as country,
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

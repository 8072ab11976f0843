{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='device_serial',
) }}

with accepted as (
    {{ accepted_rows('devices') }}
),

normalised as (
    select
        device_serial,
        {{ normalised_identifiers() }},
        product_id,
        contract_id,
        registered_at,
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

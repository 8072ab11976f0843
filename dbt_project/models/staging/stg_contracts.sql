{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='contract_id',
) }}

with accepted as (
    {{ accepted_rows('contracts') }}
),

normalised as (
    select
        contract_id,
        {{ normalised_identifiers() }},
        lower(trim(contract_type)) as contract_type,
        product_id,
        device_serial,
        started_date,
        ends_date,
        cancelled_date,
        lower(trim(status)) as status,
        monthly_amount,
        upper(trim(currency_code)) as currency_code,
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

{{ config(
    materialized='incremental',
    incremental_strategy='by_key',
    unique_key='contract_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

with contracts as (
    select * from {{ ref('stg_contracts') }}
    where _load_id > {{ last_load_id() }}
),

exchange_rates as (
    select currency_code, rate from {{ ref('stg_exchange_rates') }}
),

priced as (
    select
        contracts.contract_id,
        contracts.profile_key,
        contracts.product_id,
        contracts.device_serial,
        contracts.contract_type,
        contracts.status,
        contracts.currency_code,
        contracts.monthly_amount,
        {{ in_base_currency('contracts.monthly_amount', 'exchange_rates.rate') }}
            as monthly_amount_base,
        contracts.started_date,
        contracts.ends_date,
        contracts.cancelled_date,
        contracts._source as source_name,
        contracts._load_id,
    from contracts
    left join exchange_rates
        on contracts.currency_code = exchange_rates.currency_code
)

select * from priced

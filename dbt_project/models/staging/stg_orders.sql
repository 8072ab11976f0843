{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='order_id',
) }}

with accepted as (
    {{ accepted_rows('orders') }}
),

normalised as (
    select
        order_id,
        {{ normalised_identifiers() }},
        ordered_at,
        lower(trim(status)) as status,
        lower(trim(channel)) as channel,
        store_id,
        pickup_store_id,
        employee_id,
        upper(trim(currency_code)) as currency_code,
        total_amount,
        tax_amount,
        shipping_amount,
        discount_amount,
        coupon_code,
        promised_delivery_date,
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

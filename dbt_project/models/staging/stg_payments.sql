{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='payment_id',
) }}

with accepted as (
    {{ accepted_rows('payments') }}
),

typed as (
    select
        payment_id,
        order_id,
        paid_at,
        lower(trim(payment_method)) as payment_method,
        amount,
        upper(trim(currency_code)) as currency_code,
        installment_count,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

moved as (
    {{ with_previous('typed', 'payment_id', 'order_id') }}
)

select * from moved

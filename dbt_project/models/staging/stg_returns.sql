{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='return_id',
) }}

with accepted as (
    {{ accepted_rows('returns') }}
),

typed as (
    select
        return_id,
        order_id,
        order_line_id,
        product_id,
        returned_at,
        quantity,
        refund_amount,
        upper(trim(currency_code)) as currency_code,
        reason,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

moved as (
    {{ with_previous('typed', 'return_id', 'order_id') }}
)

select * from moved

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='order_line_id',
) }}

with accepted as (
    {{ accepted_rows('order_lines') }}
),

typed as (
    select
        order_line_id,
        order_id,
        line_number,
        product_id,
        quantity,
        unit_price,
        line_amount,
        discount_amount,
        upper(trim(currency_code)) as currency_code,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

moved as (
    {{ with_previous('typed', 'order_line_id', 'order_id') }}
)

select * from moved

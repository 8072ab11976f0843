{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='product_id',
) }}

with accepted as (
    {{ accepted_rows('products') }}
),

typed as (
    select
        product_id,
        product_name,
        category,
        brand,
        is_replenishable,
        pack_size,
        list_price,
        upper(trim(currency_code)) as currency_code,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

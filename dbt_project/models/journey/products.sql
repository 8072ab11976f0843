with products as (
    select * from {{ ref('stg_products') }}
),

exchange_rates as (
    select currency_code, rate from {{ ref('stg_exchange_rates') }}
),

priced as (
    select
        products.product_id,
        products.product_name,
        products.category,
        products.brand,
        products.currency_code,
        products.pack_size,
        products.list_price,
        {{ in_base_currency('products.list_price', 'exchange_rates.rate') }} as list_price_base,
        products.is_replenishable,
        products._source as source_name,
    from products
    left join exchange_rates
        on products.currency_code = exchange_rates.currency_code
)

select * from priced

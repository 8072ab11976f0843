{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='order_line_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{% set last_load = last_load_id() %}
{% set changed_lines %}
    select order_line_id from {{ ref('stg_order_lines') }} where _load_id > {{ last_load }}
    union all
    select order_lines.order_line_id
    from {{ ref('stg_order_lines') }} as order_lines
    inner join {{ ref('stg_orders') }} as orders using (order_id)
    where orders._load_id > {{ last_load }}
    union all
    select order_lines.order_line_id
    from {{ this }} as order_lines
    inner join {{ ref('stg_products') }} as products
        on order_lines.product_id = products.product_id
    where
        products._load_id > {{ last_load }}
        and (products.category, coalesce(products.is_replenishable, false))
        is distinct from (order_lines.category, order_lines.is_replenishable)
{% endset %}
{% do find_changed_keys('order_line_id', changed_lines) %}

with orders as (
    select
        order_id,
        profile_key,
        store_id,
        channel,
        currency_code,
        ordered_at,
        {{ local_date('ordered_at') }} as event_date,
        _load_id,
    from {{ ref('stg_orders') }}
),

order_lines as (
    select * from {{ ref('stg_order_lines') }}
    where {{ has_changed_key('order_line_id') }}
),

products as (
    select product_id, category, is_replenishable from {{ ref('stg_products') }}
),

exchange_rates as (
    select currency_code, rate from {{ ref('stg_exchange_rates') }}
),

joined as (
    select
        order_lines.order_line_id,
        order_lines.order_id,
        orders.profile_key,
        order_lines.product_id,
        orders.store_id,
        products.category,
        coalesce(products.is_replenishable, false) as is_replenishable,
        orders.channel,
        coalesce(order_lines.currency_code, orders.currency_code) as currency_code,
        order_lines.line_number,
        order_lines.quantity,
        order_lines.unit_price,
        order_lines.line_amount,
        {{ in_base_currency('order_lines.line_amount', 'exchange_rates.rate') }}
            as line_amount_base,
        order_lines.discount_amount,
        orders.event_date,
        orders.ordered_at,
        order_lines._source as source_name,
        greatest(orders._load_id, order_lines._load_id) as _load_id,
    from order_lines
    inner join orders
        on order_lines.order_id = orders.order_id
    left join products
        on order_lines.product_id = products.product_id
    left join exchange_rates
        on coalesce(order_lines.currency_code, orders.currency_code) = exchange_rates.currency_code
)

select * from joined

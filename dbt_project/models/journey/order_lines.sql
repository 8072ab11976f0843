{{ config(
    materialized='incremental',
    incremental_strategy='by_day',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{% set last_load = last_load_id() %}
{% set days_query %}
    with changed_orders as (
        select order_id from {{ ref('stg_orders') }} where _load_id > {{ last_load }}
        union
        select order_id from {{ ref('stg_order_lines') }} where _load_id > {{ last_load }}
    ),

    changed_lines as (
        select order_line_id from {{ ref('stg_order_lines') }} where _load_id > {{ last_load }}
    )

    select {{ local_date('orders.ordered_at') }}
    from {{ ref('stg_orders') }} as orders
    semi join changed_orders using (order_id)
    union
    select order_lines.event_date
    from {{ this }} as order_lines
    semi join changed_orders using (order_id)
    union
    select order_lines.event_date
    from {{ this }} as order_lines
    semi join changed_lines using (order_line_id)
    union
    select order_lines.event_date
    from {{ this }} as order_lines
    inner join {{ ref('stg_products') }} as products
        on order_lines.product_id = products.product_id
    where
        products._load_id > {{ last_load }}
        and (products.category, coalesce(products.is_replenishable, false))
        is distinct from (order_lines.category, order_lines.is_replenishable)
{% endset %}
{% set days = changed_days(days_query) %}

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
    where {{ on_days('ordered_at', days) }}
),

order_lines as (
    select * from {{ ref('stg_order_lines') }}
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

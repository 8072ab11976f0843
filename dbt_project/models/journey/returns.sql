{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='return_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{% set last_load = last_load_id() %}
{% set changed_returns %}
    select return_id from {{ ref('stg_returns') }} where _load_id > {{ last_load }}
    union all
    select returns.return_id
    from {{ ref('stg_returns') }} as returns
    inner join {{ ref('stg_orders') }} as orders using (order_id)
    where orders._load_id > {{ last_load }}
    union all
    select returns.return_id
    from {{ ref('stg_returns') }} as returns
    inner join {{ ref('stg_order_lines') }} as order_lines using (order_line_id)
    where order_lines._load_id > {{ last_load }}
{% endset %}
{% do find_changed_keys('return_id', changed_returns) %}

with returns as (
    select
        *,
        {{ local_date('returned_at') }} as event_date,
    from {{ ref('stg_returns') }}
    where {{ has_changed_key('return_id') }}
),

orders as (
    select order_id, profile_key, store_id, channel, currency_code, _load_id
    from {{ ref('stg_orders') }}
),

order_lines as (
    select order_line_id, product_id, _load_id from {{ ref('stg_order_lines') }}
),

exchange_rates as (
    select currency_code, rate from {{ ref('stg_exchange_rates') }}
),

joined as (
    select
        returns.return_id,
        returns.order_id,
        returns.order_line_id,
        orders.profile_key,
        coalesce(returns.product_id, order_lines.product_id) as product_id,
        orders.store_id,
        orders.channel as order_channel,
        returns.reason,
        coalesce(returns.currency_code, orders.currency_code) as currency_code,
        returns.quantity,
        returns.refund_amount,
        {{ in_base_currency('returns.refund_amount', 'exchange_rates.rate') }}
            as refund_amount_base,
        returns.event_date,
        returns.returned_at,
        returns._source as source_name,
        greatest(returns._load_id, orders._load_id, order_lines._load_id) as _load_id,
    from returns
    left join orders
        on returns.order_id = orders.order_id
    left join order_lines
        on returns.order_line_id = order_lines.order_line_id
    left join exchange_rates
        on coalesce(returns.currency_code, orders.currency_code) = exchange_rates.currency_code
)

select * from joined

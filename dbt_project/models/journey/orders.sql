{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='order_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{% set last_load = last_load_id() %}
{% set changed_orders %}
    select order_id from {{ ref('stg_orders') }} where _load_id > {{ last_load }}
    union all
    {% for model in ('stg_order_lines', 'stg_payments', 'stg_deliveries', 'stg_returns') %}
    select order_id from {{ ref(model) }} where _load_id > {{ last_load }}
    union all
    select unnest(previous_order_ids) from {{ ref(model) }} where _load_id > {{ last_load }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
{% endset %}
{% do find_changed_keys('order_id', changed_orders) %}

with orders as (
    select
        *,
        {{ local_date('ordered_at') }} as event_date,
    from {{ ref('stg_orders') }}
    where {{ has_changed_key('order_id') }}
),

exchange_rates as (
    select currency_code, rate from {{ ref('stg_exchange_rates') }}
),

lines_by_order as (
    select
        order_lines.order_id,
        count(*) as line_count,
        round(sum(order_lines.quantity), 3) as unit_count,
        max(order_lines._load_id) as _load_id,
    from {{ ref('stg_order_lines') }} as order_lines
    semi join orders using (order_id)
    group by order_lines.order_id
),

-- Refunds alone tell neither what was paid nor how: the payment itself is missing, unless the
-- receipt is one for goods taken back.
payments_by_order as (
    select
        payments.order_id,
        if(
            bool_and(coalesce(payments.currency_code = orders.currency_code, true))
            and bool_or(payments.amount >= 0 or coalesce(orders.total_amount < 0, false)),
            sum(payments.amount),
            null
        ) as paid_amount,
        arg_max(
            struct_pack(payment_method := payments.payment_method),
            row(payments.amount, payments.payment_id)
        ) filter (
            where payments.amount >= 0 or coalesce(orders.total_amount < 0, false)
        ) as largest,
        max(payments.installment_count) as installment_count,
        max(payments._load_id) as _load_id,
    from {{ ref('stg_payments') }} as payments
    inner join orders
        on payments.order_id = orders.order_id
    group by payments.order_id
),

-- An order is delivered when its last parcel is; one that failed is no longer waited for.
deliveries_by_order as (
    select
        deliveries.order_id,
        min(deliveries.shipped_at) as shipped_at,
        if(
            bool_and(
                deliveries.delivered_at is not null
                or coalesce(deliveries.status = 'failed', false)
            ),
            max(deliveries.delivered_at),
            null
        ) as delivered_at,
        max(deliveries.promised_delivery_date) as promised_delivery_date,
        count(*) as delivery_count,
        max(deliveries._load_id) as _load_id,
    from {{ ref('stg_deliveries') }} as deliveries
    semi join orders using (order_id)
    group by deliveries.order_id
),

returns_by_order as (
    select
        returns.order_id,
        if(
            bool_and(coalesce(returns.currency_code = orders.currency_code, true)),
            sum(returns.refund_amount),
            null
        ) as returned_amount,
        sum({{ in_base_currency('returns.refund_amount', 'exchange_rates.rate') }})
            as returned_amount_base,
        min(returns.returned_at) as first_returned_at,
        max(returns._load_id) as _load_id,
    from {{ ref('stg_returns') }} as returns
    inner join orders
        on returns.order_id = orders.order_id
    left join exchange_rates
        on coalesce(returns.currency_code, orders.currency_code) = exchange_rates.currency_code
    group by returns.order_id
),

joined as (
    select
        orders.order_id,
        orders.profile_key,
        orders.store_id,
        orders.pickup_store_id,
        orders.employee_id,
        orders.channel,
        orders.status,
        orders.currency_code,
        orders.coupon_code,
        payments_by_order.largest.payment_method as payment_method,
        orders.total_amount,
        {{ in_base_currency('orders.total_amount', 'exchange_rates.rate') }} as total_amount_base,
        orders.discount_amount,
        {{ in_base_currency('orders.discount_amount', 'exchange_rates.rate') }}
            as discount_amount_base,
        orders.tax_amount,
        orders.shipping_amount,
        cast(payments_by_order.paid_amount as decimal(18, 2)) as paid_amount,
        cast(returns_by_order.returned_amount as decimal(18, 2)) as returned_amount,
        cast(returns_by_order.returned_amount_base as decimal(18, 2)) as returned_amount_base,
        coalesce(lines_by_order.line_count, 0) as line_count,
        lines_by_order.unit_count,
        payments_by_order.installment_count,
        coalesce(deliveries_by_order.delivery_count, 0) as delivery_count,
        coalesce(orders.promised_delivery_date, deliveries_by_order.promised_delivery_date)
            as promised_delivery_date,
        {{ local_date('deliveries_by_order.delivered_at') }} as delivered_date,
        coalesce(orders.total_amount < 0, false) as is_refund,
        coalesce(orders.status in ('cancelled', 'canceled'), false) as is_cancelled,
        coalesce(orders.status in ('delivered', 'returned'), false)
        or deliveries_by_order.delivered_at is not null as is_delivered,
        coalesce(orders.status = 'returned', false)
        or returns_by_order.order_id is not null as is_returned,
        orders.event_date,
        orders.ordered_at,
        deliveries_by_order.shipped_at,
        deliveries_by_order.delivered_at,
        returns_by_order.first_returned_at,
        orders._source as source_name,
        greatest(
            orders._load_id,
            lines_by_order._load_id,
            payments_by_order._load_id,
            deliveries_by_order._load_id,
            returns_by_order._load_id
        ) as _load_id,
    from orders
    left join exchange_rates
        on orders.currency_code = exchange_rates.currency_code
    left join lines_by_order
        on orders.order_id = lines_by_order.order_id
    left join payments_by_order
        on orders.order_id = payments_by_order.order_id
    left join deliveries_by_order
        on orders.order_id = deliveries_by_order.order_id
    left join returns_by_order
        on orders.order_id = returns_by_order.order_id
),

judged as (
    select
        joined.* exclude (delivered_date, source_name, _load_id),
        joined.delivered_date <= joined.promised_delivery_date as is_on_time,
        date_diff('day', joined.promised_delivery_date, joined.delivered_date) as days_late,
        joined.source_name,
        joined._load_id,
    from joined
)

select * from judged

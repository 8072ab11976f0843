{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='delivery_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{#
    The day of a delivery is the day it was shipped: it does not move when the parcel arrives. What
    has no such day counts on the day it arrived, else on the order's.
#}
{% set delivery_at
    = 'coalesce(deliveries.shipped_at, deliveries.delivered_at, orders.ordered_at)' %}
{% set last_load = last_load_id() %}
{% set changed_deliveries %}
    select delivery_id from {{ ref('stg_deliveries') }} where _load_id > {{ last_load }}
    union all
    select deliveries.delivery_id
    from {{ ref('stg_deliveries') }} as deliveries
    inner join {{ ref('stg_orders') }} as orders using (order_id)
    where orders._load_id > {{ last_load }}
{% endset %}
{% do find_changed_keys('delivery_id', changed_deliveries) %}

with deliveries as (
    select * from {{ ref('stg_deliveries') }}
    where {{ has_changed_key('delivery_id') }}
),

orders as (
    select order_id, profile_key, promised_delivery_date, ordered_at, _load_id
    from {{ ref('stg_orders') }}
),

joined as (
    select
        deliveries.delivery_id,
        deliveries.order_id,
        orders.profile_key,
        deliveries.carrier,
        deliveries.status,
        coalesce(deliveries.promised_delivery_date, orders.promised_delivery_date)
            as promised_delivery_date,
        {{ local_date('deliveries.delivered_at') }} as delivered_date,
        {{ local_date(delivery_at) }} as event_date,
        deliveries.shipped_at,
        deliveries.delivered_at,
        deliveries._source as source_name,
        greatest(orders._load_id, deliveries._load_id) as _load_id,
    from deliveries
    inner join orders
        on deliveries.order_id = orders.order_id
),

judged as (
    select
        joined.delivery_id,
        joined.order_id,
        joined.profile_key,
        joined.carrier,
        joined.status,
        date_diff('day', joined.promised_delivery_date, joined.delivered_date) as days_late,
        joined.delivered_date <= joined.promised_delivery_date as is_on_time,
        joined.promised_delivery_date,
        joined.event_date,
        joined.shipped_at,
        joined.delivered_at,
        joined.source_name,
        joined._load_id,
    from joined
)

select * from judged

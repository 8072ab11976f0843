{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='device_event_id',
    on_schema_change='fail',
) }}

{% set last_load = last_load_id() %}
{% set changed_signals %}
    select device_event_id from {{ ref('stg_device_events') }} where _load_id > {{ last_load }}
    union all
    select device_events.device_event_id
    from {{ ref('stg_device_events') }} as device_events
    inner join {{ ref('stg_devices') }} as devices using (device_serial)
    left join {{ this }} as device_signals
        on device_events.device_event_id = device_signals.device_event_id
    where
        devices._load_id > {{ last_load }}
        and (devices.profile_key, devices.product_id, devices.contract_id)
        is distinct from (
            device_signals.profile_key, device_signals.product_id, device_signals.contract_id
        )
{% endset %}
{% do find_changed_keys('device_event_id', changed_signals) %}

with device_events as (
    select
        *,
        {{ local_date('occurred_at') }} as event_date,
    from {{ ref('stg_device_events') }}
    where {{ has_changed_key('device_event_id') }}
),

devices as (
    select device_serial, profile_key, product_id, contract_id from {{ ref('stg_devices') }}
),

joined as (
    select
        device_events.device_event_id,
        device_events.device_serial,
        devices.profile_key,
        devices.product_id,
        devices.contract_id,
        device_events.event_name,
        device_events.metric,
        device_events.unit,
        device_events.value,
        device_events.event_date,
        device_events.occurred_at,
        device_events._source as source_name,
        device_events._load_id,
    from device_events
    left join devices
        on device_events.device_serial = devices.device_serial
)

select * from joined

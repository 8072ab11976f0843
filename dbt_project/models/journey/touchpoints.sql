{{ config(
    materialized='incremental',
    incremental_strategy='by_changed_key',
    unique_key='touchpoint_id',
    on_schema_change='fail',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

{# sessions looks up here where a corrected web event stood, so it is built first. #}
-- depends_on: {{ ref('sessions') }}

{% set last_load = last_load_id() %}

{# What is new of an entity; an order or case that is new renews what hangs on it. #}
{% set is_new, of_new = ('true', 'true') %}
{% if is_incremental() %}
    {% set is_new = '{0}._load_id > ' ~ last_load %}
    {% set of_new
        = '({0}._load_id > ' ~ last_load ~ ' or {0}.{1} in (select parents.{1} from {2} as parents'
        ~ ' where parents._load_id > ' ~ last_load ~ '))' %}
{% endif %}
{% set of_new_order = of_new.format('{0}', 'order_id', ref('stg_orders')) %}
{% set of_new_case = of_new.format('{0}', 'case_id', ref('stg_cases')) %}

{# Key prefix of a touchpoint_id, staging model, its key and which of its rows a run builds. #}
{% set contacts = [
    ('order', ref('stg_orders'), 'order_id', is_new),
    ('delivery_shipped', ref('stg_deliveries'), 'delivery_id', of_new_order),
    ('delivery_delivered', ref('stg_deliveries'), 'delivery_id', of_new_order),
    ('return', ref('stg_returns'), 'return_id', of_new_order),
    ('store_visit', ref('stg_store_visits'), 'store_visit_id', is_new),
    ('web', ref('stg_web_events'), 'event_id', is_new),
    ('message', ref('stg_message_events'), 'event_id', is_new),
    ('case', ref('stg_cases'), 'case_id', is_new),
    ('case_message', ref('stg_case_messages'), 'case_message_id', of_new_case),
    ('survey', ref('stg_survey_responses'), 'response_id', is_new),
    ('review', ref('stg_reviews'), 'review_id', is_new),
    ('device', ref('stg_device_events'), 'device_event_id', is_new),
    ('contract', ref('stg_contracts'), 'contract_id', is_new),
] %}
{% set changed_touchpoints %}
    {% for prefix, staged, key, is_changed in contacts %}
    select '{{ prefix }}:' || {{ key }} from {{ staged }} as staged
    where {{ is_changed.format('staged') }}
    union all
    {% endfor %}
    select inherited.touchpoint_id
    from {{ ref('stg_inherited_profiles') }} as inherited
    where inherited._load_id > {{ last_load }}
    union all
    select 'case_message:' || case_messages.case_message_id
    from {{ ref('stg_case_messages') }} as case_messages
    inner join {{ ref('stg_inherited_profiles') }} as inherited
        on 'case:' || case_messages.case_id = inherited.touchpoint_id
    where inherited._load_id > {{ last_load }}
    union all
    -- A device has many events and is listed again by every export; unchanged, it renews nothing.
    select 'device:' || device_events.device_event_id
    from {{ ref('stg_device_events') }} as device_events
    inner join {{ ref('stg_devices') }} as devices using (device_serial)
    left join {{ this }} as touchpoints
        on 'device:' || device_events.device_event_id = touchpoints.touchpoint_id
    where
        devices._load_id > {{ last_load }}
        and device_events.event_name <> 'reading'
        and (devices.profile_key, devices.product_id)
        is distinct from (touchpoints.profile_key, touchpoints.product_id)
{% endset %}
{% do find_changed_keys('touchpoint_id', changed_touchpoints) %}

with orders as (
    select order_id, profile_key, store_id, pickup_store_id, channel from {{ ref('stg_orders') }}
),

-- Of a record that names nobody: whose its order or case is.
inherited as (
    select touchpoint_id, profile_key from {{ ref('stg_inherited_profiles') }}
),

cases as (
    select
        cases.case_id,
        coalesce(cases.profile_key, inherited.profile_key) as profile_key,
        cases.channel,
        cases.order_id,
        cases.product_id,
        cases.opened_at,
    from {{ ref('stg_cases') }} as cases
    left join inherited
        on 'case:' || cases.case_id = inherited.touchpoint_id
),

devices as (
    select device_serial, profile_key, product_id from {{ ref('stg_devices') }}
),

event_stages as (
    select touchpoint_type, event_name, stage from {{ ref('stg_event_stages') }}
),

orders_placed as (
    select
        'order:' || order_id as touchpoint_id,
        profile_key,
        'order' as touchpoint_type,
        if(total_amount < 0, 'order_refunded', 'order_placed') as event_name,
        coalesce(channel, if(store_id is not null, 'store', null)) as channel,
        'inbound' as direction,
        ordered_at as occurred_at,
        order_id,
        store_id,
        employee_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_orders') }}
    where {{ is_new.format('stg_orders') }}
),

deliveries_shipped as (
    select
        'delivery_shipped:' || deliveries.delivery_id as touchpoint_id,
        orders.profile_key,
        'delivery' as touchpoint_type,
        'order_shipped' as event_name,
        -- To a store too: what will be collected there has met nobody yet.
        'post' as channel,
        'outbound' as direction,
        deliveries.shipped_at as occurred_at,
        deliveries.order_id,
        coalesce(orders.pickup_store_id, orders.store_id) as store_id,
        deliveries._source as source_name,
        deliveries._load_id,
    from {{ ref('stg_deliveries') }} as deliveries
    left join orders
        on deliveries.order_id = orders.order_id
    where deliveries.shipped_at is not null and {{ of_new_order.format('deliveries') }}
),

deliveries_delivered as (
    select
        'delivery_delivered:' || deliveries.delivery_id as touchpoint_id,
        orders.profile_key,
        'delivery' as touchpoint_type,
        'order_delivered' as event_name,
        if(deliveries.status = 'collected', 'store', 'post') as channel,
        'outbound' as direction,
        deliveries.delivered_at as occurred_at,
        deliveries.order_id,
        coalesce(orders.pickup_store_id, orders.store_id) as store_id,
        deliveries._source as source_name,
        deliveries._load_id,
    from {{ ref('stg_deliveries') }} as deliveries
    left join orders
        on deliveries.order_id = orders.order_id
    where deliveries.delivered_at is not null and {{ of_new_order.format('deliveries') }}
),

returns_received as (
    select
        'return:' || returns.return_id as touchpoint_id,
        orders.profile_key,
        'return' as touchpoint_type,
        'order_returned' as event_name,
        if(orders.channel = 'store', 'store', 'post') as channel,
        'inbound' as direction,
        returns.returned_at as occurred_at,
        returns.order_id,
        returns.product_id,
        orders.store_id,
        returns._source as source_name,
        returns._load_id,
    from {{ ref('stg_returns') }} as returns
    left join orders
        on returns.order_id = orders.order_id
    where {{ of_new_order.format('returns') }}
),

store_visits as (
    select
        'store_visit:' || store_visit_id as touchpoint_id,
        profile_key,
        'store_visit' as touchpoint_type,
        coalesce(visit_type, 'other') as event_name,
        'store' as channel,
        'inbound' as direction,
        visited_at as occurred_at,
        order_id,
        store_id,
        employee_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_store_visits') }}
    where {{ has_changed_key('touchpoint_id', "'store_visit:' || store_visit_id") }}
),

web_events as (
    select
        'web:' || event_id as touchpoint_id,
        profile_key,
        'web' as touchpoint_type,
        event_name,
        case
            when event_name like 'chat%' then 'chat'
            when device_type = 'app' then 'app'
            else 'web'
        end as channel,
        'inbound' as direction,
        occurred_at,
        order_id,
        product_id,
        coalesce(utm_id, utm_campaign) as campaign_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_web_events') }}
    where {{ is_new.format('stg_web_events') }}
),

-- What was sent is the company's act; opening, clicking and complaining are the customer's.
message_events as (
    select
        'message:' || event_id as touchpoint_id,
        profile_key,
        'message' as touchpoint_type,
        event_name,
        channel,
        if(event_name in ('sent', 'delivered', 'bounced'), 'outbound', 'inbound') as direction,
        occurred_at,
        campaign_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_message_events') }}
    where {{ is_new.format('stg_message_events') }}
),

cases_opened as (
    select
        'case:' || case_id as touchpoint_id,
        profile_key,
        'case' as touchpoint_type,
        'case_opened' as event_name,
        channel,
        'inbound' as direction,
        opened_at as occurred_at,
        order_id,
        case_id,
        product_id,
        employee_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_cases') }}
    where {{ has_changed_key('touchpoint_id', "'case:' || case_id") }}
),

-- Internal notes and the system's lines are no contacts; the message that opened the case is
-- already counted as its opening.
case_messages as (
    select
        'case_message:' || case_messages.case_message_id as touchpoint_id,
        cases.profile_key,
        'case' as touchpoint_type,
        if(
            case_messages.author_type = 'customer', 'case_message_received', 'case_message_sent'
        ) as event_name,
        cases.channel,
        if(case_messages.author_type = 'customer', 'inbound', 'outbound') as direction,
        case_messages.sent_at as occurred_at,
        cases.order_id,
        case_messages.case_id,
        cases.product_id,
        case_messages.employee_id,
        case_messages._source as source_name,
        case_messages._load_id,
    from {{ ref('stg_case_messages') }} as case_messages
    left join cases
        on case_messages.case_id = cases.case_id
    where
        case_messages.author_type in ('customer', 'employee')
        and coalesce(case_messages.is_public, true)
        and not coalesce(
            case_messages.author_type = 'customer' and case_messages.sent_at <= cases.opened_at,
            false
        )
        and {{ has_changed_key(
            'touchpoint_id', "'case_message:' || case_messages.case_message_id"
        ) }}
),

surveys_answered as (
    select
        'survey:' || response_id as touchpoint_id,
        profile_key,
        'survey' as touchpoint_type,
        'survey_answered' as event_name,
        channel,
        'inbound' as direction,
        answered_at as occurred_at,
        order_id,
        case_id,
        store_id,
        employee_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_survey_responses') }}
    where {{ has_changed_key('touchpoint_id', "'survey:' || response_id") }}
),

reviews_written as (
    select
        'review:' || review_id as touchpoint_id,
        profile_key,
        'review' as touchpoint_type,
        'product_reviewed' as event_name,
        'web' as channel,
        'inbound' as direction,
        reviewed_at as occurred_at,
        order_id,
        product_id,
        store_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_reviews') }}
    where {{ has_changed_key('touchpoint_id', "'review:' || review_id") }}
),

-- A reading is telemetry, not a contact: those are in device_signals. Only using a device is the
-- customer's act; what it signals of itself is nobody's.
device_events as (
    select
        'device:' || device_events.device_event_id as touchpoint_id,
        devices.profile_key,
        'device' as touchpoint_type,
        device_events.event_name,
        'device' as channel,
        if(device_events.event_name = 'used', 'inbound', null) as direction,
        device_events.occurred_at,
        devices.product_id,
        device_events._source as source_name,
        device_events._load_id,
    from {{ ref('stg_device_events') }} as device_events
    left join devices
        on device_events.device_serial = devices.device_serial
    where
        device_events.event_name <> 'reading'
        and {{ has_changed_key('touchpoint_id', "'device:' || device_events.device_event_id") }}
),

contracts_started as (
    select
        'contract:' || contract_id as touchpoint_id,
        profile_key,
        'contract' as touchpoint_type,
        'contract_started' as event_name,
        'inbound' as direction,
        {{ start_of_local_date('started_date') }} as occurred_at,
        product_id,
        _source as source_name,
        _load_id,
    from {{ ref('stg_contracts') }}
    where {{ is_new.format('stg_contracts') }}
),

all_contacts as (
    select * from orders_placed
    union all by name
    select * from deliveries_shipped
    union all by name
    select * from deliveries_delivered
    union all by name
    select * from returns_received
    union all by name
    select * from store_visits
    union all by name
    select * from web_events
    union all by name
    select * from message_events
    union all by name
    select * from cases_opened
    union all by name
    select * from case_messages
    union all by name
    select * from surveys_answered
    union all by name
    select * from reviews_written
    union all by name
    select * from device_events
    union all by name
    select * from contracts_started
),

staged as (
    select
        all_contacts.touchpoint_id,
        coalesce(all_contacts.profile_key, inherited.profile_key) as profile_key,
        all_contacts.order_id,
        all_contacts.case_id,
        all_contacts.product_id,
        all_contacts.store_id,
        all_contacts.employee_id,
        all_contacts.campaign_id,
        all_contacts.touchpoint_type,
        all_contacts.event_name,
        all_contacts.channel,
        all_contacts.direction,
        coalesce(stage_of_event.stage, stage_of_type.stage) as stage,
        all_contacts.channel not in ('store', 'phone', 'post') as is_digital,
        {{ local_date('all_contacts.occurred_at') }} as event_date,
        all_contacts.occurred_at,
        all_contacts.source_name,
        all_contacts._load_id,
    from all_contacts
    left join inherited
        on all_contacts.touchpoint_id = inherited.touchpoint_id
    left join event_stages as stage_of_event
        on
            all_contacts.touchpoint_type = stage_of_event.touchpoint_type
            and all_contacts.event_name = stage_of_event.event_name
    left join event_stages as stage_of_type
        on
            all_contacts.touchpoint_type = stage_of_type.touchpoint_type
            and stage_of_type.event_name = '*'
)

select * from staged

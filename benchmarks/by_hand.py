"""The measure of the models: one script in plain DuckDB SQL, as a good engineer writes it once.

Reads:     the same Parquet files of the lake as the rooms
Writes:    by_hand.duckdb with what people read: who is who, touchpoints, orders, order lines,
           deliveries, returns, sessions, feedback, cases, permissions, one row per customer
The same rules as in the rooms: identifiers normalised and blocked, the same keyed hash, of a
repeated key one row, local days, 30 minutes of silence end a session, one customer per set of
linked identifiers, what was watched is told only of those who may be analysed.

Left out, because a script that is written once and run once does without: tables in between,
rows set aside with their reasons and the books that balance, what came with which load, tests
and descriptions of tables, the history of the customer map, the limits on linking, ids that
outlive a merge. Left out too: columns that these rows leave empty (contracts, devices, reviews).
"""

import os
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.measuring import stopwatch
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.identity_rules import blocked_patterns, read_identity_rules
from cx_pipeline.warehouse.session import prepare_connection, prepare_session

_MACROS = r"""
create temp macro keyed_hash(text) as left(sha256(
    getvariable('hmac_outer') || unhex(sha256(getvariable('hmac_inner') || encode(text)))
), 32)::uuid;

create temp macro unless_blocked(value, pattern) as
    if(value = '' or regexp_full_match(value, pattern, 'i'), null, value);

create temp macro plausible_email(value) as
    if(regexp_full_match(trim(value), '[^@\s]+@[^@\s]+\.[^@\s]+'), lower(trim(value)), null);

create temp macro e164(value) as
    case
        when value is null then null
        when regexp_full_match(value, getvariable('plain_phone')) then value
        else nullif(normalise_phone(value, 'DK'), '')
    end;

create temp macro crm(value) as unless_blocked(trim(value), getvariable('blocked_crm_id'));
create temp macro loyalty(value) as unless_blocked(trim(value), getvariable('blocked_loyalty_id'));
create temp macro cookie(value) as unless_blocked(trim(value), getvariable('blocked_cookie_id'));
create temp macro mail(value) as
    unless_blocked(plausible_email(value), getvariable('blocked_email'));
create temp macro telephone(value) as unless_blocked(e164(value), getvariable('blocked_phone'));

create temp macro local_date(moment) as
    timezone('Europe/Copenhagen', make_timestamptz(epoch_us(moment)))::date;

create temp macro lake(name) as table
    select * from read_parquet('lake/bench/' || name || '/*/*.parquet');
"""

# Every entity with its identifiers normalised, and of a repeated event the first row. Looking for
# repeated ids and ranking only those takes a tenth of ranking all.
_ROWS = """
create temp table contacts as
select
    contact_id,
    crm(crm_id) as crm_id,
    loyalty(loyalty_id) as loyalty_id,
    mail(email) as email,
    telephone(phone) as phone,
    country,
    language,
    is_club_member,
    created_at,
from lake('contacts');

create temp table orders_given as
select
    * exclude (email, cookie_id, loyalty_id, ordered_at, total_amount, discount_amount),
    loyalty(loyalty_id) as loyalty_id,
    mail(email) as email,
    cookie(cookie_id) as cookie_id,
    ordered_at::timestamptz at time zone 'UTC' as ordered_at,
    total_amount::decimal(18, 2) as total_amount,
    discount_amount::decimal(18, 2) as discount_amount,
from lake('orders');

create temp table repeated_events as
select event_id from lake('web_events') group by event_id having count(*) > 1;

create temp table web_rows as
with given as (
    select
        event_id,
        crm(crm_id) as crm_id,
        cookie(cookie_id) as cookie_id,
        lower(trim(event_name)) as event_name,
        occurred_at::timestamptz at time zone 'UTC' as occurred_at,
        page_url,
        referrer,
        utm_source,
        utm_medium,
        product_id,
        lower(trim(device_type)) as device_type,
    from lake('web_events')
)

select * from given
where event_id not in (from repeated_events)
union all
select distinct on (event_id) * from given
where event_id in (from repeated_events);

create temp table message_rows as
select
    * exclude (email, occurred_at),
    mail(email) as email,
    occurred_at::timestamptz at time zone 'UTC' as occurred_at,
from lake('message_events');

create temp table case_rows as
select * exclude (email), mail(email) as email from lake('cases');

create temp table answer_rows as
select * exclude (crm_id), crm(crm_id) as crm_id from lake('survey_responses');

create temp table visit_rows as
select * exclude (loyalty_id), loyalty(loyalty_id) as loyalty_id from lake('store_visits');

create temp table consent_rows as
select * exclude (crm_id, email), crm(crm_id) as crm_id, mail(email) as email
from lake('consent_events');
"""

# Who was seen together with whom, when first and last; each identifier is hashed once.
_IDENTIFIERS = """
create temp table sightings as
select crm_id, loyalty_id, email, phone, null as cookie_id, created_at as seen_at from contacts
union all by name
select loyalty_id, email, cookie_id, ordered_at as seen_at from orders_given
union all by name
select crm_id, cookie_id, min(occurred_at) as seen_at, max(occurred_at) as last_at
from web_rows group by all
union all by name
select email, min(occurred_at) as seen_at, max(occurred_at) as last_at
from message_rows group by all
union all by name
select email, opened_at as seen_at from case_rows
union all by name
select crm_id, answered_at as seen_at from answer_rows
union all by name
select loyalty_id, visited_at as seen_at from visit_rows
union all by name
select crm_id, email, captured_at as seen_at from consent_rows;

create temp table identifiers as
with seen as (
    select
        unnest([
            'crm_id:' || crm_id, 'loyalty_id:' || loyalty_id, 'email:' || email,
            'phone:' || phone, 'cookie_id:' || cookie_id
        ]) as identifier,
        seen_at,
        coalesce(last_at, seen_at) as last_at,
    from sightings
),

distinct_identifiers as (
    select identifier, min(seen_at) as first_seen_at, max(last_at) as last_seen_at
    from seen
    where identifier is not null
    group by identifier
)

select
    row_number() over () - 1 as node,
    identifier,
    split_part(identifier, ':', 1) as identifier_type,
    keyed_hash(identifier) as profile_key,
    first_seen_at,
    last_seen_at,
from distinct_identifiers;

create temp table edges as
with pairs as (
    select distinct
        coalesce(
            'crm_id:' || crm_id, 'loyalty_id:' || loyalty_id, 'email:' || email, 'phone:' || phone
        ) as best,
        unnest([
            'loyalty_id:' || loyalty_id, 'email:' || email, 'phone:' || phone,
            'cookie_id:' || cookie_id
        ]) as other,
    from sightings
)

select best.node as left_node, other.node as right_node
from pairs
inner join identifiers as best on pairs.best = best.identifier
inner join identifiers as other on pairs.other = other.identifier
where pairs.best <> pairs.other;
"""

_CUSTOMERS = """
create table customer_xref as
with oldest as (
    select
        component,
        arg_min(profile_key, (first_seen_at, profile_key)) as profile_key,
        bool_or(identifier_type <> 'cookie_id') as is_known,
    from components
    inner join identifiers using (node)
    group by component
)

select
    identifiers.profile_key,
    identifiers.identifier_type,
    md5('customer:' || oldest.profile_key)::uuid::varchar as customer_id,
    oldest.is_known,
from identifiers
inner join components using (node)
inner join oldest using (component);

create temp table keys as select identifier, profile_key from identifiers;
"""

_FACTS = """
create table orders as
with lines as (
    select order_id, count(*) as line_count, sum(quantity) as unit_count
    from lake('order_lines') group by order_id
),

payments as (
    select
        order_id,
        sum(amount) as paid_amount,
        arg_max(payment_method, (amount, payment_id)) as payment_method,
    from lake('payments') group by order_id
),

parcels as (
    select order_id, min(shipped_at) as shipped_at, max(delivered_at) as delivered_at
    from lake('deliveries') group by order_id
),

returned as (
    select order_id, sum(refund_amount) as returned_amount from lake('returns') group by order_id
)

select
    o.order_id,
    keys.profile_key,
    local_date(o.ordered_at) as event_date,
    o.* exclude (order_id, loyalty_id, email, cookie_id),
    o.total_amount as total_amount_base,
    coalesce(line_count, 0) as line_count,
    unit_count,
    paid_amount::decimal(18, 2) as paid_amount,
    payment_method,
    shipped_at,
    delivered_at,
    delivered_at is not null as is_delivered,
    local_date(delivered_at) <= promised_delivery_date as is_on_time,
    local_date(delivered_at) - promised_delivery_date as days_late,
    returned.order_id is not null as is_returned,
    returned_amount::decimal(18, 2) as returned_amount,
    status = 'cancelled' as is_cancelled,
from orders_given as o
left join keys
    on keys.identifier
    = coalesce('loyalty_id:' || loyalty_id, 'email:' || email, 'cookie_id:' || cookie_id)
left join lines using (order_id)
left join payments using (order_id)
left join parcels using (order_id)
left join returned using (order_id);

create table order_lines as
select
    l.order_line_id,
    l.order_id,
    o.profile_key,
    l.product_id,
    p.category,
    l.line_number,
    l.quantity::double as quantity,
    l.line_amount::decimal(18, 2) as line_amount,
    l.line_amount::decimal(18, 2) as line_amount_base,
    l.currency_code,
    o.store_id,
    o.channel,
    o.ordered_at,
    o.event_date,
from lake('order_lines') as l
inner join orders as o using (order_id)
left join lake('products') as p using (product_id);

create table deliveries as
select
    d.delivery_id,
    d.order_id,
    o.profile_key,
    d.carrier,
    d.status,
    d.shipped_at,
    o.promised_delivery_date,
    d.delivered_at,
    local_date(coalesce(d.shipped_at, d.delivered_at, o.ordered_at)) as event_date,
    local_date(d.delivered_at) <= o.promised_delivery_date as is_on_time,
    local_date(d.delivered_at) - o.promised_delivery_date as days_late,
from lake('deliveries') as d
inner join orders as o using (order_id);

create table returns as
select
    r.return_id,
    r.order_id,
    r.order_line_id,
    o.profile_key,
    l.product_id,
    o.store_id,
    r.reason,
    r.refund_amount::decimal(18, 2) as refund_amount,
    r.returned_at,
    local_date(r.returned_at) as event_date,
from lake('returns') as r
left join orders as o using (order_id)
left join lake('order_lines') as l using (order_line_id);

create table cases as
select
    case_id,
    keys.profile_key,
    channel,
    category,
    priority,
    status,
    coalesce(reopened_count, 0) as reopened_count,
    date_diff('second', opened_at, first_responded_at) / 60.0 as first_response_minutes,
    date_diff('second', opened_at, resolved_at) / 3600.0 as resolution_hours,
    status not in ('solved', 'closed') as is_open,
    reopened_count > 0 as is_reopened,
    status in ('solved', 'closed') and reopened_count = 0 as is_first_contact_resolution,
    opened_at,
    local_date(opened_at) as event_date,
from case_rows
left join keys on keys.identifier = 'email:' || email;

create table feedback as
select
    'survey:' || response_id as feedback_id,
    keys.profile_key,
    metric,
    case when score >= 9 then 'promoter' when score >= 7 then 'passive' else 'detractor' end
        as nps_group,
    touchpoint,
    channel,
    score,
    score / 10 as normalised_score,
    answered_at,
    local_date(answered_at) as event_date,
from answer_rows
left join keys on keys.identifier = 'crm_id:' || crm_id;

create temp table web as
select
    web_rows.* exclude (cookie_id),
    hash(cookie_id) as visitor,
    keys.profile_key,
    local_date(occurred_at) as event_date,
from web_rows
left join keys on keys.identifier = coalesce('crm_id:' || crm_id, 'cookie_id:' || cookie_id);

create table touchpoints as
select
    'web:' || event_id as touchpoint_id,
    profile_key,
    'web' as touchpoint_type,
    event_name,
    'web' as channel,
    true as is_digital,
    'inbound' as direction,
    case
        when event_name in ('product_viewed', 'products_searched') then 'explore'
        when event_name in ('product_added', 'checkout_started', 'order_completed') then 'buy'
        else 'discover'
    end as stage,
    occurred_at,
    event_date,
    product_id,
    'bench' as source_name,
from web
union all by name
select
    'message:' || event_id as touchpoint_id,
    keys.profile_key,
    'message' as touchpoint_type,
    event_name,
    channel,
    true as is_digital,
    if(event_name in ('sent', 'delivered', 'bounced'), 'outbound', 'inbound') as direction,
    'discover' as stage,
    occurred_at,
    local_date(occurred_at) as event_date,
    campaign_id,
    'bench' as source_name,
from message_rows
left join keys on keys.identifier = 'email:' || email
union all by name
select
    'order:' || order_id as touchpoint_id,
    profile_key,
    'order' as touchpoint_type,
    'order_placed' as event_name,
    channel,
    channel <> 'store' as is_digital,
    'inbound' as direction,
    'buy' as stage,
    ordered_at as occurred_at,
    event_date,
    order_id,
    store_id,
    'bench' as source_name,
from orders
union all by name
select
    'delivery_shipped:' || delivery_id as touchpoint_id,
    profile_key,
    'delivery' as touchpoint_type,
    'order_shipped' as event_name,
    'post' as channel,
    false as is_digital,
    'outbound' as direction,
    'deliver' as stage,
    shipped_at as occurred_at,
    local_date(shipped_at) as event_date,
    order_id,
    'bench' as source_name,
from deliveries
union all by name
select
    'delivery_delivered:' || delivery_id as touchpoint_id,
    profile_key,
    'delivery' as touchpoint_type,
    'order_delivered' as event_name,
    'post' as channel,
    false as is_digital,
    'outbound' as direction,
    'deliver' as stage,
    delivered_at as occurred_at,
    local_date(delivered_at) as event_date,
    order_id,
    'bench' as source_name,
from deliveries
union all by name
select
    'return:' || return_id as touchpoint_id,
    profile_key,
    'return' as touchpoint_type,
    'order_returned' as event_name,
    if(store_id is null, 'post', 'store') as channel,
    false as is_digital,
    'inbound' as direction,
    'deliver' as stage,
    returned_at as occurred_at,
    event_date,
    order_id,
    product_id,
    store_id,
    'bench' as source_name,
from returns
union all by name
select
    'case:' || case_id as touchpoint_id,
    profile_key,
    'case' as touchpoint_type,
    'case_opened' as event_name,
    channel,
    true as is_digital,
    'inbound' as direction,
    'inspire' as stage,
    opened_at as occurred_at,
    event_date,
    case_id,
    'bench' as source_name,
from cases
union all by name
select
    feedback_id as touchpoint_id,
    profile_key,
    'survey' as touchpoint_type,
    'survey_answered' as event_name,
    channel,
    true as is_digital,
    'inbound' as direction,
    'inspire' as stage,
    answered_at as occurred_at,
    event_date,
    'bench' as source_name,
from feedback
union all by name
select
    'store_visit:' || store_visit_id as touchpoint_id,
    keys.profile_key,
    'store_visit' as touchpoint_type,
    visit_type as event_name,
    'store' as channel,
    false as is_digital,
    'inbound' as direction,
    'explore' as stage,
    visited_at as occurred_at,
    local_date(visited_at) as event_date,
    store_id,
    'bench' as source_name,
from visit_rows
left join keys on keys.identifier = 'loyalty_id:' || loyalty_id;
"""

_SESSIONS = """
create table sessions as
with gaps as (
    select
        *,
        occurred_at - lag(occurred_at) over person > interval 30 minute as is_after_silence,
    from web
    where visitor is not null
    window person as (partition by visitor order by occurred_at, event_id)
),

numbered as (
    select
        *,
        count(*) filter (where is_after_silence) over (
            partition by visitor order by occurred_at, event_id rows unbounded preceding
        ) as session_number,
    from gaps
)

select
    md5(visitor || ':' || min(occurred_at)) as session_id,
    coalesce(
        arg_max(profile_key, (occurred_at, event_id)) filter (where crm_id is not null),
        arg_max(profile_key, (occurred_at, event_id))
    ) as profile_key,
    min(occurred_at) as started_at,
    max(occurred_at) as ended_at,
    local_date(min(occurred_at)) as event_date,
    count(*) as event_count,
    count(*) filter (where event_name = 'page_viewed') as page_view_count,
    count(*) filter (where event_name = 'product_viewed') as product_view_count,
    bool_or(event_name = 'checkout_started') as has_checkout,
    bool_or(event_name = 'order_completed') as has_order,
    case
        when bool_or(event_name in ('product_added', 'checkout_started', 'order_completed'))
            then 'buy'
        when bool_or(event_name in ('product_viewed', 'products_searched')) then 'explore'
        else 'discover'
    end as deepest_stage,
    arg_min(page_url, (occurred_at, event_id)) as landing_url,
    arg_min(referrer, (occurred_at, event_id)) as referrer,
    arg_min(utm_source, (occurred_at, event_id)) as utm_source,
    arg_min(utm_medium, (occurred_at, event_id)) as utm_medium,
    arg_min(device_type, (occurred_at, event_id)) as device_type,
from numbered
group by visitor, session_number;
"""

_CUSTOMER_ROW = """
create table permissions as
with said as (
    select
        customer_xref.customer_id,
        purpose,
        channel,
        arg_max(status, captured_at) as status,
    from consent_rows
    inner join keys on keys.identifier = 'crm_id:' || crm_id
    inner join customer_xref using (profile_key)
    group by all
)

select *, status = 'granted' as is_permitted from said;

create temp table known as
select profile_key, customer_id from customer_xref where is_known;

create temp table day as select max(event_date) as as_of_date from touchpoints;

create table customers as
with identities as (
    select
        customer_id,
        count(*) as identifier_count,
        count(*) filter (where customer_xref.identifier_type = 'email') as email_count,
        count(*) filter (where customer_xref.identifier_type = 'phone') as phone_count,
        count(*) filter (where customer_xref.identifier_type = 'cookie_id') as browser_count,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
    from customer_xref
    inner join identifiers using (profile_key)
    where is_known
    group by customer_id
),

people as (
    select
        customer_id,
        arg_max(country, (created_at, contact_id)) as country,
        arg_max(language, (created_at, contact_id)) as language,
        bool_or(is_club_member) as is_club_member,
        count(*) as contact_record_count,
    from contacts
    inner join keys on keys.identifier = 'crm_id:' || crm_id
    inner join known using (profile_key)
    group by customer_id
),

aged_orders as (
    select orders.*, customer_id, as_of_date - event_date as age
    from orders inner join known using (profile_key) cross join day
),

order_sums as (
    select
        customer_id,
        count(*) filter (where not is_cancelled) as order_count,
        count(*) filter (where not is_cancelled and age < 90) as order_count_90d,
        count(*) filter (where not is_cancelled and age < 365) as order_count_365d,
        count(*) filter (where is_cancelled) as cancelled_order_count,
        count(*) filter (where is_returned) as returned_order_count,
        count(*) filter (where discount_amount > 0) as discounted_order_count,
        count(*) filter (where channel = 'store') as store_order_count,
        count(*) filter (where channel <> 'store') as digital_order_count,
        count(distinct channel) as order_channel_count,
        count(distinct store_id) as store_count,
        count(distinct event_date) as order_day_count,
        sum(unit_count) as unit_count,
        sum(total_amount_base) as order_amount,
        sum(total_amount_base) filter (where age < 90) as order_amount_90d,
        sum(total_amount_base) filter (where age < 365) as order_amount_365d,
        max(total_amount_base) as largest_order_amount,
        arg_max(total_amount_base, (ordered_at, order_id)) as last_order_amount,
        min(event_date) as first_order_date,
        max(event_date) as last_order_date,
        arg_min(channel, (ordered_at, order_id)) as first_order_channel,
        arg_max(channel, (ordered_at, order_id)) as last_order_channel,
    from aged_orders group by customer_id
),

favourite_stores as (
    select customer_id, store_id as favourite_store_id
    from aged_orders where store_id is not null group by customer_id, store_id
    qualify row_number() over (
        partition by customer_id order by count(*) desc, max(ordered_at) desc, store_id
    ) = 1
),

favourite_channels as (
    select customer_id, channel as favourite_order_channel
    from aged_orders group by customer_id, channel
    qualify row_number() over (
        partition by customer_id order by count(*) desc, max(ordered_at) desc, channel
    ) = 1
),

customer_lines as (
    select customer_id, l.*, is_replenishable
    from order_lines as l
    inner join known using (profile_key)
    left join lake('products') using (product_id)
),

line_sums as (
    select
        customer_id,
        count(distinct product_id) as product_count,
        count(distinct category) as category_count,
        count(distinct order_id) filter (where is_replenishable) as replenishable_order_count,
        arg_max(product_id, (ordered_at, order_id, line_number, order_line_id)) filter (
            where is_replenishable
        ) as last_replenishable_product_id,
        max(event_date) filter (where is_replenishable) as last_replenishable_order_date,
    from customer_lines group by customer_id
),

favourite_categories as (
    select customer_id, category as favourite_category
    from customer_lines group by customer_id, category
    qualify row_number() over (
        partition by customer_id
        order by count(distinct order_id) desc, sum(line_amount_base) desc, category
    ) = 1
),

delivery_sums as (
    select
        customer_id,
        count(*) as delivery_count,
        count(*) filter (where not is_on_time) as late_delivery_count,
        count(is_on_time) as promised_delivery_count,
        max(days_late) as most_days_late,
        arg_max(is_on_time, (delivered_at, delivery_id)) as is_last_delivery_on_time,
    from deliveries inner join known using (profile_key) group by customer_id
),

return_sums as (
    select
        customer_id,
        count(*) as return_count,
        sum(refund_amount) as refund_amount,
        max(event_date) as last_return_date,
    from returns inner join known using (profile_key) group by customer_id
),

aged_touchpoints as (
    select touchpoints.*, customer_id, as_of_date - event_date as age
    from touchpoints inner join known using (profile_key) cross join day
),

touchpoint_sums as (
    select
        customer_id,
        count(*) filter (where age < 30) as touchpoint_count_30d,
        count(*) filter (where age < 90) as touchpoint_count_90d,
        count(*) filter (where age < 365) as touchpoint_count_365d,
        count(*) filter (where age < 90 and direction = 'inbound') as inbound_count_90d,
        count(*) filter (where age < 90 and direction = 'outbound') as outbound_count_90d,
        count(*) filter (where age < 365 and channel = 'web') as web_count_365d,
        count(*) filter (where age < 365 and channel = 'email') as email_count_365d,
        count(*) filter (where age < 365 and channel = 'sms') as sms_count_365d,
        count(*) filter (where age < 365 and channel = 'store') as store_count_365d,
        count(*) filter (where age < 365 and channel = 'phone') as phone_count_365d,
        count(distinct channel) filter (where age < 365) as channel_count_365d,
        count(*) filter (where age < 365 and is_digital) as digital_count_365d,
        min(event_date) as first_touchpoint_date,
        max(occurred_at) as last_touchpoint_at,
        arg_max(touchpoint_type, (occurred_at, touchpoint_id)) as last_touchpoint_type,
        arg_max(channel, (occurred_at, touchpoint_id)) as last_touchpoint_channel,
        arg_max(stage, (occurred_at, touchpoint_id)) filter (where direction = 'inbound')
            as journey_stage,
        max(event_date) filter (where direction = 'inbound') as last_inbound_date,
        count(*) filter (where touchpoint_type = 'message' and event_name = 'sent' and age < 90)
            as email_sent_count_90d,
        count(*) filter (where touchpoint_type = 'message' and event_name = 'opened' and age < 90)
            as email_open_count_90d,
        count(*) filter (where touchpoint_type = 'message' and event_name = 'clicked' and age < 90)
            as email_click_count_90d,
        max(event_date) filter (
            where touchpoint_type = 'message' and event_name in ('opened', 'clicked')
        ) as last_message_reaction_date,
        arg_max(event_name, (occurred_at, event_name)) filter (
            where touchpoint_type = 'message'
        ) = 'bounced' as is_email_bouncing,
    from aged_touchpoints group by customer_id
),

session_sums as (
    select
        customer_id,
        count(*) filter (where as_of_date - event_date < 30) as session_count_30d,
        count(*) filter (where as_of_date - event_date < 90) as session_count_90d,
        sum(product_view_count) filter (where as_of_date - event_date < 90)
            as product_view_count_90d,
        count(*) filter (where as_of_date - event_date < 90 and has_checkout)
            as checkout_session_count_90d,
        count(*) filter (where as_of_date - event_date < 30 and has_checkout and not has_order)
            as abandoned_checkout_count_30d,
        max(event_date) as last_session_date,
    from sessions inner join known using (profile_key) cross join day group by customer_id
),

case_sums as (
    select
        customer_id,
        count(*) as case_count,
        count(*) filter (where as_of_date - event_date < 365) as case_count_365d,
        count(*) filter (where is_open) as open_case_count,
        count(*) filter (where is_reopened) as reopened_case_count,
        count(*) filter (where is_first_contact_resolution) as first_contact_resolution_count,
        avg(first_response_minutes) as mean_first_response_minutes,
        avg(resolution_hours) as mean_resolution_hours,
        max(event_date) as last_case_date,
        arg_max(category, (opened_at, case_id)) as last_case_category,
        arg_max(channel, (opened_at, case_id)) as last_case_channel,
    from cases inner join known using (profile_key) cross join day group by customer_id
),

feedback_sums as (
    select
        customer_id,
        count(*) as feedback_count,
        count(*) filter (where as_of_date - event_date < 365) as feedback_count_365d,
        arg_max(score, (answered_at, feedback_id)) as last_nps_score,
        arg_max(nps_group, (answered_at, feedback_id)) as last_nps_group,
        arg_max(normalised_score, (answered_at, feedback_id)) as last_normalised_score,
        arg_max(touchpoint, (answered_at, feedback_id)) as last_feedback_touchpoint,
        max(event_date) as last_feedback_date,
    from feedback inner join known using (profile_key) cross join day group by customer_id
),

consents as (
    select
        customer_id,
        max(status) filter (where purpose = 'marketing') as marketing_consent_status,
        max(status) filter (where purpose = 'personalisation') as personalisation_consent_status,
        coalesce(bool_or(is_permitted) filter (where purpose = 'marketing'), false)
            as is_marketing_email_permitted,
        coalesce(bool_or(is_permitted) filter (where purpose = 'personalisation'), false)
            as is_personalisation_permitted,
    from permissions group by customer_id
)

select
    *,
    order_amount / nullif(order_count, 0) as mean_order_amount,
    returned_order_count / nullif(order_count, 0) as returned_order_share,
    digital_order_count / nullif(order_count, 0) as digital_order_share,
    late_delivery_count / nullif(promised_delivery_count, 0) as late_delivery_share,
    as_of_date - last_order_date as days_since_last_order,
    as_of_date - last_inbound_date as days_since_last_inbound_touchpoint,
    is_marketing_email_permitted and email_count > 0 and not is_email_bouncing
        as is_reachable_by_email,
from identities
cross join day
left join people using (customer_id)
left join order_sums using (customer_id)
left join favourite_stores using (customer_id)
left join favourite_channels using (customer_id)
left join line_sums using (customer_id)
left join favourite_categories using (customer_id)
left join delivery_sums using (customer_id)
left join return_sums using (customer_id)
left join touchpoint_sums using (customer_id)
left join session_sums using (customer_id)
left join case_sums using (customer_id)
left join feedback_sums using (customer_id)
left join consents using (customer_id);
"""

_SCRIPT = {
    "read and normalise": _ROWS,
    "identifiers and links": _IDENTIFIERS,
    "customers": _CUSTOMERS,
    "facts": _FACTS,
    "sessions": _SESSIONS,
    "one row per customer": _CUSTOMER_ROW,
    "write to disk": "checkpoint",
}

KEYS = {
    "customer_xref": "profile_key",
    "orders": "order_id",
    "order_lines": "order_line_id",
    "deliveries": "delivery_id",
    "returns": "return_id",
    "cases": "case_id",
    "feedback": "feedback_id",
    "touchpoints": "touchpoint_id",
    "sessions": "session_id",
    "customers": "customer_id",
}
"""The tables that the script leaves, each with its key."""


def run_script(started_at: float) -> dict[str, Any]:
    """Run the script on the lake of the data folder."""
    settings = load_settings()
    os.chdir(settings.data_dir)
    path = Path("by_hand.duckdb")
    path.unlink(missing_ok=True)
    steps: dict[str, float] = {}
    with duckdb.connect(str(path)) as connection:
        # Importing what these need takes 2 s; the rooms' clock too starts after it.
        prepare_connection(connection, settings)
        prepare_session(connection, settings)
        for name, pattern in blocked_patterns(read_identity_rules(settings)).items():
            connection.execute(f"set variable blocked_{name} = $1::varchar", [pattern])
        connection.execute(_MACROS)
        with stopwatch() as whole:
            for name, script in _SCRIPT.items():
                with stopwatch() as watch:
                    if name == "customers":
                        _find_components(connection)
                    connection.execute(script)
                steps[name] = watch.seconds
    with stopwatch() as tests, duckdb.connect(str(path)) as connection:
        counts = {table: _unique_rows(connection, table, key) for table, key in KEYS.items()}
    return {
        "seconds": whole.seconds,
        "cpu_seconds": whole.cpu_seconds,
        "steps": steps,
        "test_seconds": tests.seconds,
        "file_bytes": path.stat().st_size,
        "row_counts": counts,
    }


def _find_components(connection: duckdb.DuckDBPyConnection) -> None:
    edges = connection.execute("select left_node, right_node from edges").fetchnumpy()
    (size,) = connection.execute("select count(*) from identifiers").fetchall()[0]
    ends = (edges["left_node"], edges["right_node"])
    graph = coo_matrix((np.ones(len(ends[0]), dtype=bool), ends), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    found = {"node": np.arange(size), "component": component}
    connection.register("found", found)
    connection.execute("create temp table components as select * from found")
    connection.unregister("found")


def _unique_rows(connection: duckdb.DuckDBPyConnection, table: str, key: str) -> int:
    rows, keys = connection.execute(
        f"select count(*), count(distinct {key}) from {table}"
    ).fetchall()[0]
    if rows != keys:
        raise ValueError(f"{table}: {rows} rows, but {keys} values of {key}")
    return rows

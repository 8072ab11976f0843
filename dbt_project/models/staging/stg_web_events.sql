{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='event_id',
) }}

with accepted as (
    {{ accepted_rows('web_events') }}
),

normalised as (
    select
        event_id,
        {{ normalised_identifiers() }},
        lower(trim(event_name)) as event_name,
        occurred_at,
        -- The rest can hold anything, such as ?email=; campaigns come as utm columns.
        split_part(split_part(page_url, '?', 1), '#', 1) as page_url,
        split_part(split_part(referrer, '?', 1), '#', 1) as referrer,
        utm_id,
        utm_source,
        utm_medium,
        utm_campaign,
        product_id,
        order_id,
        search_term,
        lower(trim(device_type)) as device_type,
        upper(trim(country)) as country,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

keyed as (
    {{ with_profile_key('normalised') }}
)

select * from keyed

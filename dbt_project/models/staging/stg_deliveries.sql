{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='delivery_id',
) }}

with accepted as (
    {{ accepted_rows('deliveries') }}
),

typed as (
    select
        delivery_id,
        order_id,
        carrier,
        shipped_at,
        promised_delivery_date,
        -- Carriers date the attempt that failed too; here alone, so that all tables agree.
        if(lower(trim(status)) = 'failed', null, delivered_at) as delivered_at,
        lower(trim(status)) as status,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

moved as (
    {{ with_previous('typed', 'delivery_id', 'order_id') }}
)

select * from moved

with stores as (
    select
        store_id,
        store_name,
        country,
        city,
        time_zone,
        opened_date,
        _source as source_name,
    from {{ ref('stg_stores') }}
)

select * from stores

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='review_id',
) }}

with accepted as (
    {{ accepted_rows('reviews') }}
),

normalised as (
    select
        review_id,
        {{ normalised_identifiers() }},
        rating,
        scale_min,
        scale_max,
        reviewed_at,
        product_id,
        order_id,
        store_id,
        platform,
        title,
        body,
        lower(trim(language)) as language,
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

{{ config(
    materialized='incremental',
    incremental_strategy='append',
) }}

with sightings as (
    select * from {{ ref('stg_identifier_sightings') }}
    where _load_id > {{ last_load_id('first_load_id') }}
),

given as (
    select
        email_key as profile_key,
        'email' as contact_point_type,
        email as value,
        _load_id,
    from sightings
    where email is not null

    union all by name

    select
        phone_key as profile_key,
        'phone' as contact_point_type,
        phone as value,
        _load_id,
    from sightings
    where phone is not null
),

contact_points as (
    select
        profile_key,
        contact_point_type,
        value,
        min(_load_id) as first_load_id,
    from given
    group by all
),

new_contact_points as (
    select contact_points.* from contact_points
    {% if is_incremental() %}
    left join {{ this }} as known
        on contact_points.profile_key = known.profile_key
    where known.profile_key is null
    {% endif %}
)

select * from new_contact_points

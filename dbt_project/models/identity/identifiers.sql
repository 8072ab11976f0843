{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='profile_key',
) }}

with sightings as (
    select * from {{ ref('stg_identifier_sightings') }}
    where _load_id > {{ last_load_id('last_load_id') }}
),

single_identifiers as (
    {% for identifier_type in identifier_types() %}
    select
        {{ identifier_type }}_key as profile_key,
        '{{ identifier_type }}' as identifier_type,
        entity,
        _source,
        _load_id,
        _loaded_at,
        first_seen_at,
        last_seen_at,
        record_count,
    from sightings
    where {{ identifier_type }}_key is not null
    {{ 'union all by name' if not loop.last }}
    {% endfor %}
),

-- A struct compares field by field: the smallest is the first load's earliest sighting.
in_new_loads as (
    select
        profile_key,
        identifier_type,
        min(struct_pack(
            load_id := _load_id,
            anchored_at := coalesce(first_seen_at, _loaded_at),
            entity := entity,
            source_name := _source,
            loaded_at := _loaded_at
        )) as anchor,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(_load_id) as last_load_id,
        cast(sum(record_count) as bigint) as record_count,
    from single_identifiers
    group by all
),

{% if is_incremental() %}
already_known as (
    select
        known.profile_key,
        known.identifier_type,
        struct_pack(
            load_id := known.first_load_id,
            anchored_at := known.anchored_at,
            entity := known.entity,
            source_name := known.source_name,
            loaded_at := known.first_loaded_at
        ) as anchor,
        known.first_seen_at,
        known.last_seen_at,
        known.last_load_id,
        known.record_count,
    from {{ this }} as known
    inner join in_new_loads
        on known.profile_key = in_new_loads.profile_key
),

together as (
    select * from in_new_loads
    union all by name
    select * from already_known
),

identifiers as (
    select
        profile_key,
        identifier_type,
        min(anchor) as anchor,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        max(last_load_id) as last_load_id,
        cast(sum(record_count) as bigint) as record_count,
    from together
    group by all
),

{% endif %}
unpacked as (
    select
        profile_key,
        identifier_type,
        anchor.load_id as first_load_id,
        anchor.loaded_at as first_loaded_at,
        anchor.anchored_at,
        anchor.source_name,
        anchor.entity,
        first_seen_at,
        last_seen_at,
        last_load_id,
        record_count,
    from {{ 'identifiers' if is_incremental() else 'in_new_loads' }}
)

select * from unpacked

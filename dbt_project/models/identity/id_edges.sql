{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['left_profile_key', 'right_profile_key'],
) }}

{#
    A record with several identifiers gives a star, not every pair: four edges instead of ten for
    five identifiers, and the same customers. Its centre is the best identifier of a type that links:
    around one that does not, every edge would be refused and the others never meet.
#}
{%- set linking = identifier_types() | select('in', var('linking_identifiers')) | list -%}
{%- set centres = linking + (identifier_types() | reject('in', linking) | list) %}
with sightings as (
    select
        *,
        case
            {%- for identifier_type in centres %}
            when {{ identifier_type }}_key is not null then '{{ identifier_type }}'
            {%- endfor %}
        end as left_type,
        coalesce(
            {%- for identifier_type in centres %}
            {{ identifier_type }}_key{{ ',' if not loop.last }}
            {%- endfor %}
        ) as left_profile_key,
    from {{ ref('stg_identifier_sightings') }}
    where _load_id > {{ last_load_id('last_load_id') }}
),

pairs as (
    {% for identifier_type in identifier_types() %}
    select
        left_profile_key,
        {{ identifier_type }}_key as right_profile_key,
        left_type,
        '{{ identifier_type }}' as right_type,
        entity,
        _source,
        _load_id,
        _loaded_at,
        first_seen_at,
        last_seen_at,
        record_count,
    from sightings
    where {{ identifier_type }}_key is not null and left_type <> '{{ identifier_type }}'
    {{ 'union all by name' if not loop.last }}
    {% endfor %}
),

-- A struct compares field by field: the smallest is the first load's earliest sighting.
in_new_loads as (
    select
        left_profile_key,
        right_profile_key,
        left_type,
        right_type,
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
    from pairs
    group by all
),

{% if is_incremental() %}
already_known as (
    select
        known.left_profile_key,
        known.right_profile_key,
        known.left_type,
        known.right_type,
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
        on
            known.left_profile_key = in_new_loads.left_profile_key
            and known.right_profile_key = in_new_loads.right_profile_key
),

together as (
    select * from in_new_loads
    union all by name
    select * from already_known
),

edges as (
    select
        left_profile_key,
        right_profile_key,
        left_type,
        right_type,
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
        left_profile_key,
        right_profile_key,
        left_type,
        right_type,
        anchor.load_id as first_load_id,
        anchor.loaded_at as first_loaded_at,
        anchor.anchored_at,
        anchor.source_name,
        anchor.entity,
        first_seen_at,
        last_seen_at,
        last_load_id,
        record_count,
    from {{ 'edges' if is_incremental() else 'in_new_loads' }}
)

select * from unpacked

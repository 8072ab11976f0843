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
            when {{ identifier_type }} is not null then '{{ identifier_type }}'
            {%- endfor %}
        end as left_type,
        coalesce({{ centres | join(', ') }}) as left_value,
    from {{ ref('stg_identifier_sightings') }}
    where _load_id > {{ last_load_id('last_load_id') }}
),

pairs as (
    {% for identifier_type in identifier_types() %}
    select
        left_type,
        left_value,
        '{{ identifier_type }}' as right_type,
        {{ identifier_type }} as right_value,
        entity,
        _source,
        _load_id,
        _loaded_at,
        first_seen_at,
        last_seen_at,
        record_count,
    from sightings
    where {{ identifier_type }} is not null and left_type <> '{{ identifier_type }}'
    {{ 'union all by name' if not loop.last }}
    {% endfor %}
),

-- A struct compares field by field: the smallest is the first load's earliest sighting.
in_new_loads as (
    select
        left_type,
        left_value,
        right_type,
        right_value,
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

-- A value stands in several pairs: hashing each once instead of per pair saved a fifth of the time.
ends as (
    select left_type as identifier_type, left_value as identifier_value from in_new_loads
    union
    select right_type as identifier_type, right_value as identifier_value from in_new_loads
),

profile_keys as (
    select
        identifier_type,
        identifier_value,
        {{ keyed_hash("identifier_type || ':' || identifier_value") }} as profile_key,
    from ends
),

keyed as (
    select
        left_keys.profile_key as left_profile_key,
        right_keys.profile_key as right_profile_key,
        in_new_loads.left_type,
        in_new_loads.right_type,
        in_new_loads.anchor,
        in_new_loads.first_seen_at,
        in_new_loads.last_seen_at,
        in_new_loads.last_load_id,
        in_new_loads.record_count,
    from in_new_loads
    inner join profile_keys as left_keys
        on
            in_new_loads.left_value = left_keys.identifier_value
            and in_new_loads.left_type = left_keys.identifier_type
    inner join profile_keys as right_keys
        on
            in_new_loads.right_value = right_keys.identifier_value
            and in_new_loads.right_type = right_keys.identifier_type
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
    inner join keyed
        on
            known.left_profile_key = keyed.left_profile_key
            and known.right_profile_key = keyed.right_profile_key
),

together as (
    select * from keyed
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
    from {{ 'edges' if is_incremental() else 'keyed' }}
)

select * from unpacked

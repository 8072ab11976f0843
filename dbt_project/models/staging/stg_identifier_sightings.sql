{{ config(
    materialized='incremental',
    incremental_strategy='append',
) }}

{#
    The other staging models keep the newest version of a record: an address that a customer gave
    up is gone from them, and after a full rebuild so is the load that first showed the customer.
    Who is who must come out the same however often it is rebuilt, so here every load's version
    counts.

    Identifiers repeat on most rows (5 million web events hold 320,000 cookies), so they are
    grouped as they came, then normalised. The keyed hash of an identifier costs 1.2
    microseconds: it is taken here, once, and identity works on the keys.
#}
{% set last_load = last_load_id() %}

with quarantined_rows as (
    select distinct
        source_name,
        table_name,
        file,
        row_number,
        load_id,
    from {{ ref('quarantine') }}
    where load_id > {{ last_load }}
),

{% for entity, (first_seen_at, last_seen_at) in sighted_at().items() %}
{{ entity }}_as_given as (
    select
        '{{ entity }}' as entity,
        source_rows.crm_id,
        source_rows.loyalty_id,
        source_rows.erp_customer_number,
        source_rows.email,
        source_rows.phone,
        source_rows.device_id,
        source_rows.cookie_id,
        source_rows.country,
        source_rows._source,
        source_rows._load_id,
        source_rows._loaded_at,
        min({{ first_seen_at }}) as first_seen_at,
        max({{ last_seen_at }}) as last_seen_at,
        count(*) as record_count,
    from {{ source('sources', entity) }} as source_rows
    left join quarantined_rows
        on
            source_rows._source = quarantined_rows.source_name
            and source_rows._table = quarantined_rows.table_name
            and source_rows._file is not distinct from quarantined_rows.file
            and source_rows._row_number is not distinct from quarantined_rows.row_number
            and source_rows._load_id = quarantined_rows.load_id
    where
        source_rows._load_id > {{ last_load }}
        and array_length(source_rows._problems) = 0
        and quarantined_rows.load_id is null
    group by all
),

{% endfor %}
as_given as (
    {% for entity in sighted_at() %}
    select * from {{ entity }}_as_given
    {{ 'union all by name' if not loop.last }}
    {% endfor %}
),

normalised as (
    select
        entity,
        {{ normalised_identifiers() }},
        _source,
        _load_id,
        _loaded_at,
        first_seen_at,
        last_seen_at,
        record_count,
    from as_given
),

sightings as (
    select
        entity,
        crm_id,
        loyalty_id,
        erp_customer_number,
        email,
        phone,
        device_id,
        cookie_id,
        _source,
        _load_id,
        _loaded_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        cast(sum(record_count) as bigint) as record_count,
    from normalised
    group by all
    -- A `where` would sink below the first grouping and have every landed row normalised there:
    -- 5.9 s of processor instead of 4.2 at three million contacts.
    having
        if(
            coalesce(crm_id, loyalty_id, erp_customer_number, email, phone, device_id, cookie_id)
            is null,
            0, count(*)
        ) > 0
),

{% for identifier_type in identifier_types() %}
{{ identifier_type }}_keys as (
    select
        {{ identifier_type }},
        {{ profile_key(identifier_type, identifier_type) }} as {{ identifier_type }}_key,
    from sightings
    where {{ identifier_type }} is not null
    group by {{ identifier_type }}
),

{% endfor %}
keyed as (
    select
        sightings.*,
        {%- for identifier_type in identifier_types() %}
        {{ identifier_type }}_keys.{{ identifier_type }}_key,
        {%- endfor %}
    from sightings
    {%- for identifier_type in identifier_types() %}
    left join {{ identifier_type }}_keys
        on sightings.{{ identifier_type }} = {{ identifier_type }}_keys.{{ identifier_type }}
    {%- endfor %}
)

select * from keyed

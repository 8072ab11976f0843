{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='load_balance_id',
) }}

{#
    Counting costs a look at the Parquet footers. The rows themselves are read again only where
    staging holds fewer than were read: something was set aside, or a later load replaced it. Those
    loads are asked for first: with all entities in one query, its planning took longer than it did.
#}
{% set last_load = last_load_id('load_id') %}
{% set uneven_loads = {} %}

{% if execute and is_incremental() and newest_load_id() <= last_load %}
select * from {{ this }} where false
{% else %}
{% set uneven_query %}
    {% for entity in entity_keys() %}
    select '{{ entity }}' as entity, _load_id
    from (
        select _load_id, count(*) as row_count
        from {{ source('sources', entity) }}
        where _load_id > {{ last_load }}
        group by all
        union all
        select _load_id, -count(*) from {{ ref('stg_' ~ entity) }}
        where _load_id > {{ last_load }}
        group by all
    )
    group by _load_id
    having sum(row_count) <> 0
    {{ 'union all' if not loop.last }}
    {% endfor %}
{% endset %}
{% if execute %}
    {% for entity, load_id in run_query(uneven_query) %}
        {% do uneven_loads.setdefault(entity, []).append(load_id) %}
    {% endfor %}
{% endif %}
with rows_read as (
    {% for entity in entity_keys() %}
    select
        '{{ entity }}' as entity,
        _load_id,
        _source,
        _table,
        count(*) as rows_read,
    from {{ source('sources', entity) }}
    where _load_id > {{ last_load }}
    group by all
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

{% for entity, load_ids in uneven_loads.items() %}
{{ entity }}_set_aside as (
    {{ set_aside_rows(entity, load_ids) }}
),

{% endfor %}
set_aside as (
    select
        cast(null as varchar) as entity,
        cast(null as bigint) as _load_id,
        cast(null as varchar) as _source,
        cast(null as varchar) as _table,
        cast(null as varchar) as outcome,
    where false
    {% for entity in uneven_loads %}
    union all
    select '{{ entity }}' as entity, _load_id, _source, _table, outcome
    from {{ entity }}_set_aside
    {% endfor %}
),

rows_set_aside as (
    select
        entity,
        _load_id,
        _source,
        _table,
        count(*) filter (where outcome = 'deduplicated') as rows_deduplicated,
        count(*) filter (where outcome = 'quarantined') as rows_quarantined,
    from set_aside
    group by all
),

rejected_rows as (
    select
        mapped_entities.entity,
        rejected_rows.load_id as _load_id,
        rejected_rows.source_name as _source,
        rejected_rows.table_name as _table,
        count(distinct row(rejected_rows.file, rejected_rows.row_number))
            filter (where rejected_rows.row_number is not null) as rows_rejected,
    from {{ source('sources', 'rejected_rows') }} as rejected_rows
    inner join {{ source('sources', 'mapped_entities') }} as mapped_entities
        on
            rejected_rows.source_name = mapped_entities.source_name
            and rejected_rows.table_name = mapped_entities.table_name
    where rejected_rows.load_id > {{ last_load }}
    group by all
),

counted as (
    select
        entity,
        _load_id as load_id,
        _source as source_name,
        _table as table_name,
        coalesce(rows_read, 0) as landed_rows,
        coalesce(rows_deduplicated, 0) as rows_deduplicated,
        coalesce(rows_quarantined, 0) as rows_quarantined,
        coalesce(rows_rejected, 0) as rows_rejected,
    from rows_read
    full join rows_set_aside using (entity, _load_id, _source, _table)
    full join rejected_rows using (entity, _load_id, _source, _table)
),

balanced as (
    select
        md5(concat_ws('|', load_id, source_name, table_name, entity)) as load_balance_id,
        load_id,
        source_name,
        table_name,
        entity,
        landed_rows + rows_rejected as rows_read,
        landed_rows - rows_deduplicated - rows_quarantined as rows_landed,
        rows_deduplicated,
        rows_quarantined + rows_rejected as rows_quarantined,
    from counted
)

select * from balanced
{% endif %}

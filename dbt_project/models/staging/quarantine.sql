{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='quarantine_id',
    on_schema_change='append_new_columns',
) }}

{% set last_load = last_load_id('load_id') %}
{% set new_loads = {} %}
{% set troubled_entities = [] %}
{# Which rows it reads comes out when it runs; dbt has to know of all before. #}
{% for entity in entity_keys() %}
    {% do source('sources', entity) %}
    {% do ref('stg_' ~ entity) %}
{% endfor %}
{% set load_balance = ref('load_balance') %}
{% if execute and load_relation(load_balance) %}
    {% for entity, load_id in run_query(
        'select distinct entity, load_id from ' ~ load_balance
        ~ ' where rows_quarantined > 0 order by all'
    ) %}
        {% if load_id > last_load %}
            {% do new_loads.setdefault(entity, []).append(load_id) %}
        {% endif %}
        {% if entity not in troubled_entities %}
            {% do troubled_entities.append(entity) %}
        {% endif %}
    {% endfor %}
{% endif %}

with
{% for entity, load_ids in new_loads.items() %}
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
        cast(null as varchar) as _file,
        cast(null as bigint) as _row_number,
        cast(null as varchar) as entity_key,
        cast(null as boolean) as may_be_refusal,
        cast([] as varchar[]) as problems,
    where false
    {% for entity in new_loads %}
    union all by name
    select '{{ entity }}' as entity, * exclude (outcome) from {{ entity }}_set_aside
    where outcome = 'quarantined'
    {% endfor %}
),

problems as (
    select
        _source as source_name,
        _table as table_name,
        entity,
        _file as file,
        _row_number as row_number,
        unnest(problems) as problem,
        _load_id as load_id,
        md5(entity_key) as key_hash,
        may_be_refusal,
    from set_aside
),

quarantined as (
    select
        source_name,
        table_name,
        entity,
        file,
        row_number,
        split_part(problem, ': ', 1) as column_name,
        substr(problem, strpos(problem, ': ') + 2) as reason,
        load_id,
        key_hash,
        may_be_refusal,
    from problems

    union all by name

    select
        rejected_rows.source_name,
        rejected_rows.table_name,
        mapped_entities.entity,
        rejected_rows.file,
        rejected_rows.row_number,
        rejected_rows.column_name,
        rejected_rows.reason,
        rejected_rows.load_id,
        coalesce(
            mapped_entities.entity in ('consent_events', 'message_events'), false
        ) as may_be_refusal,
    from {{ source('sources', 'rejected_rows') }} as rejected_rows
    left join {{ source('sources', 'mapped_entities') }} as mapped_entities
        on
            rejected_rows.source_name = mapped_entities.source_name
            and rejected_rows.table_name = mapped_entities.table_name
    where rejected_rows.load_id > {{ last_load }}
),

-- Of a file that was refused and taken away nothing is waited for; what its earlier coming left in
-- quarantine still is.
taken_away as (
    select source_name, table_name, file, max(load_id) as newest_load_id
    from {{ source('sources', 'taken_away_files') }}
    group by all
),

identified as (
    select
        md5(concat_ws(
            '|', load_id, source_name, table_name, coalesce(entity, ''), file,
            coalesce(row_number, 0), coalesce(column_name, ''), reason
        )) as quarantine_id,
        *,
    from quarantined

    {% if is_incremental() %}
    union all by name

    select * exclude (is_resolved) from {{ this }} where not is_resolved
    {% endif %}
),

keys_arrived as (
    select
        cast(null as varchar) as entity,
        cast(null as varchar) as key_hash,
        cast(null as bigint) as newest_load_id,
    where false
    {% for entity in troubled_entities %}
    union all by name
    select
        '{{ entity }}' as entity,
        md5({{ entity_keys()[entity] }}) as key_hash,
        max(_load_id) as newest_load_id,
    from {{ ref('stg_' ~ entity) }}
    where
        _load_id > {{ last_load }}
        and md5({{ entity_keys()[entity] }}) in (
            select identified.key_hash
            from identified
            where identified.entity = '{{ entity }}'
        )
    group by all
    {% endfor %}
),

newest_load_of_file as (
    select
        source_name,
        table_name,
        file,
        file = table_name as is_database_table,
        max(load_id) as newest_load_id,
    from {{ source('sources', 'loaded_files') }}
    group by all
),

tables_made_by_queries as (
    select distinct identified.source_name, identified.table_name
    from identified
    anti join newest_load_of_file
        on
            identified.source_name = newest_load_of_file.source_name
            and identified.table_name = newest_load_of_file.table_name
    where identified.row_number is not null
),

-- The rows that a query makes bear the files of the tables that it reads.
newest_load_of_rows as (
    select * from newest_load_of_file
    union all by name
    select
        tables_made_by_queries.source_name,
        tables_made_by_queries.table_name,
        newest_load_of_file.file,
        bool_or(newest_load_of_file.is_database_table) as is_database_table,
        max(newest_load_of_file.newest_load_id) as newest_load_id,
    from tables_made_by_queries
    inner join newest_load_of_file
        on tables_made_by_queries.source_name = newest_load_of_file.source_name
    group by all
),

{#
    A file that came again holds its rows mended or has them set aside anew. A database's table
    (whose rows bear its name as their file) sends other rows the next time, which mend nothing.
#}
judged as (
    select
        identified.*,
        coalesce(
            if(
                newest_load_of_rows.is_database_table and identified.row_number is not null,
                keys_arrived.newest_load_id,
                newest_load_of_rows.newest_load_id
            ) > identified.load_id,
            false
        )
        or coalesce(
            identified.row_number is null and taken_away.newest_load_id > identified.load_id, false
        ) as is_resolved,
    from identified
    left join newest_load_of_rows
        on
            identified.source_name = newest_load_of_rows.source_name
            and identified.table_name = newest_load_of_rows.table_name
            and identified.file = newest_load_of_rows.file
    left join taken_away
        on
            identified.source_name = taken_away.source_name
            and identified.table_name = taken_away.table_name
            and identified.file = taken_away.file
    left join keys_arrived
        on
            identified.entity = keys_arrived.entity
            and identified.key_hash = keys_arrived.key_hash
)

select * from judged
qualify row_number() over (partition by quarantine_id order by is_resolved, key_hash) = 1

{{ config(meta={"dagster": {"ref": {"name": "quarantine"}}}) }}

{# Below this many rows a person can look at each; a small day is not stopped by one bad row. #}
{% set tolerated_rows = 20 %}

with set_aside as (
    select
        quarantine.load_id,
        quarantine.source_name,
        quarantine.table_name,
        quarantine.entity,
        count(distinct hash(quarantine.file, quarantine.row_number)) as row_count,
        mode(quarantine.column_name || ': ' || quarantine.reason) as commonest_reason,
        mode(quarantine.file) as commonest_file,
    from {{ ref("quarantine") }} as quarantine
    where not quarantine.is_resolved
    group by all
),

rows_read as (
    select
        load_balance.load_id,
        load_balance.source_name,
        load_balance.table_name,
        load_balance.entity,
        load_balance.rows_read,
    from {{ ref("load_balance") }} as load_balance
),

limits as (
    select
        quarantine_limits.source_name,
        quarantine_limits.max_share,
    from {{ source("sources", "quarantine_limits") }} as quarantine_limits
),

exceeded as (
    select
        format(
            '{}.{}: {} of {} rows of load {} are set aside ({:.1f}%, limit {:.1f}%), most of them '
            || 'because of {} (file {}). Correct the file or the mapping and run again, or raise '
            || 'quarantine.max_share.',
            set_aside.source_name,
            set_aside.table_name,
            set_aside.row_count,
            rows_read.rows_read,
            set_aside.load_id,
            100.0 * set_aside.row_count / nullif(rows_read.rows_read, 0),
            100.0 * limits.max_share,
            set_aside.commonest_reason,
            set_aside.commonest_file
        ) as problem,
    from set_aside
    inner join rows_read
        on
            set_aside.load_id = rows_read.load_id
            and set_aside.source_name = rows_read.source_name
            and set_aside.table_name = rows_read.table_name
            and set_aside.entity is not distinct from rows_read.entity
    inner join limits
        on set_aside.source_name = limits.source_name
    where
        set_aside.row_count > {{ tolerated_rows }}
        and set_aside.row_count > limits.max_share * rows_read.rows_read
)

select * from exceeded

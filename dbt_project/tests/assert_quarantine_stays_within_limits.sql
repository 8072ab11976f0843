{{ config(
    meta={
        "description": "No table of a source has more rows set aside than company.yml tolerates.",
        "dagster": {"ref": {"name": "quarantine"}},
    },
) }}

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
    where not quarantine.is_resolved and quarantine.row_number is not null
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

files_refused as (
    select
        quarantine.load_id,
        quarantine.source_name,
        quarantine.table_name,
        count(distinct quarantine.file) as file_count,
        any_value(quarantine.file) as one_file,
        any_value(quarantine.reason) as one_reason,
    from {{ ref("quarantine") }} as quarantine
    where not quarantine.is_resolved and quarantine.row_number is null
    group by all
),

files_landed as (
    select
        loaded_files.load_id,
        loaded_files.source_name,
        loaded_files.table_name,
        count(*) as file_count,
    from {{ source("sources", "loaded_files") }} as loaded_files
    group by all
),

{# How many rows a refused file holds nobody knows, so it counts as a file. #}
too_many_files as (
    select
        format(
            '{}.{}: {} of {} files of load {} are refused as a whole, such as {} ({}). Correct '
            || 'them and send them again, or take them away.',
            files_refused.source_name,
            files_refused.table_name,
            files_refused.file_count,
            files_refused.file_count + coalesce(files_landed.file_count, 0),
            files_refused.load_id,
            files_refused.one_file,
            files_refused.one_reason
        ) as problem,
    from files_refused
    inner join limits
        on files_refused.source_name = limits.source_name
    left join files_landed
        on
            files_refused.load_id = files_landed.load_id
            and files_refused.source_name = files_landed.source_name
            and files_refused.table_name = files_landed.table_name
    where
        files_refused.file_count
        > limits.max_share * (files_refused.file_count + coalesce(files_landed.file_count, 0))
),

too_many_rows as (
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
),

exceeded as (
    select * from too_many_rows
    union all
    select * from too_many_files
)

select * from exceeded

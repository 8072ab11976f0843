{{ config(
    meta={
        "description": "Nothing that may be a refusal is set aside.",
        "dagster": {"ref": {"name": "quarantine"}},
    },
) }}

-- What cannot be read may be a refusal, and the consent given before it would stand. So no share is
-- tolerated but the whole, by which a source says that nothing of it stops a run. Of the events of
-- messages those count that unsubscribe, complain, or do not say what they are.
with set_aside as (
    select
        quarantine.source_name,
        quarantine.table_name,
        count(distinct hash(quarantine.file, quarantine.row_number)) as row_count,
        arg_min(
            struct_pack(
                file := quarantine.file,
                row_number := quarantine.row_number,
                column_name := quarantine.column_name,
                reason := quarantine.reason
            ),
            quarantine.quarantine_id
        ) as one,
    from {{ ref("quarantine") }} as quarantine
    inner join {{ source("sources", "quarantine_limits") }} as quarantine_limits
        on quarantine.source_name = quarantine_limits.source_name
    where
        not quarantine.is_resolved
        and quarantine.may_be_refusal
        and quarantine_limits.max_share < 1
    group by quarantine.source_name, quarantine.table_name
),

unread as (
    select
        format(
            '{}.{}: {} records that may take a consent back, or files of them, are set aside, such '
            || 'as {}{} ({}). Correct the export, or how sources.yml reads it, and run again.',
            set_aside.source_name,
            set_aside.table_name,
            set_aside.row_count,
            set_aside.one.file,
            coalesce(' row ' || set_aside.one.row_number, ''),
            coalesce(set_aside.one.column_name || ' ', '') || set_aside.one.reason
        ) as problem,
    from set_aside
)

select * from unread

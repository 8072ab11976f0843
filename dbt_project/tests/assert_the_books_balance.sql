{{ config(
    meta={
        "description": "Rows read are the rows that staging holds, dropped as repeats or set aside.",
        "dagster": {"ref": {"name": "load_balance"}},
    },
) }}

{#
    The books tell what should stand in staging; here it is counted. Of the newest load of an
    entity every row stands, of an earlier one those that no later load replaced.
#}
with books as (
    select
        load_balance.entity,
        load_balance.load_id,
        load_balance.source_name,
        load_balance.table_name,
        load_balance.rows_read,
        load_balance.rows_landed,
        load_balance.rows_deduplicated,
        load_balance.rows_quarantined,
        load_balance.load_id
        = max(load_balance.load_id) over (partition by load_balance.entity) as is_newest,
    from {{ ref("load_balance") }} as load_balance
),

standing as (
    {% for entity in entity_keys() %}
    select
        '{{ entity }}' as entity,
        _load_id as load_id,
        _source as source_name,
        _table as table_name,
        count(*) as row_count,
    from {{ ref("stg_" ~ entity) }}
    group by all
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

compared as (
    select
        entity,
        load_id,
        source_name,
        table_name,
        coalesce(books.rows_landed, 0) as rows_landed,
        coalesce(standing.row_count, 0) as rows_standing,
        coalesce(books.is_newest, true) as is_newest,
        coalesce(
            books.rows_read
            <> books.rows_landed + books.rows_deduplicated + books.rows_quarantined,
            true
        ) as is_uneven,
    from books
    full join standing using (entity, load_id, source_name, table_name)
),

differences as (
    select
        format(
            '{} of {}.{}, load {}: {} rows should stand in staging and {} do; rebuild it with '
            || '--full-refresh.',
            entity, source_name, table_name, load_id, rows_landed, rows_standing
        ) as problem,
    from compared
    where
        is_uneven
        or rows_standing > rows_landed
        or (is_newest and rows_standing <> rows_landed)
)

select * from differences

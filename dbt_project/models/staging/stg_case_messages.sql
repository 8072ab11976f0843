{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='case_message_id',
) }}

with accepted as (
    {{ accepted_rows('case_messages') }}
),

typed as (
    select
        case_message_id,
        case_id,
        sent_at,
        lower(trim(author_type)) as author_type,
        employee_id,
        is_public,
        body,
        lower(trim(language)) as language,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

moved as (
    {{ with_previous('typed', 'case_message_id', 'case_id') }}
)

select * from moved

{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='response_id',
) }}

with accepted as (
    {{ accepted_rows('survey_responses') }}
),

normalised as (
    select
        response_id,
        {{ normalised_identifiers() }},
        survey_id,
        question_id,
        lower(trim(metric)) as metric,
        score,
        scale_min,
        scale_max,
        answered_at,
        sent_at,
        lower(trim(channel)) as channel,
        lower(trim(touchpoint)) as touchpoint,
        order_id,
        case_id,
        store_id,
        employee_id,
        comment,
        lower(trim(language)) as language,
        upper(trim(country)) as country,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
),

keyed as (
    {{ with_profile_key('normalised') }}
)

select * from keyed

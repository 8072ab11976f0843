{{ config(
    materialized='incremental',
    incremental_strategy='by_key',
    unique_key='contact_id',
    pre_hook='{{ expect_changed_profiles() }}',
) }}

with accepted as (
    {{ accepted_rows('contacts') }}
),

normalised as (
    select
        contact_id,
        {{ normalised_identifiers() }},
        first_name,
        last_name,
        birth_date,
        gender,
        lower(trim(language)) as language,
        upper(trim(country)) as country,
        postal_code,
        city,
        street,
        is_club_member,
        created_at,
        updated_at,
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

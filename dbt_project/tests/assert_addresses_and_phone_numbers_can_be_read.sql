{{ config(
    severity="warn",
    meta={
        "description": "Nearly all e-mail addresses and phone numbers of a load can be read as such.",
        "dagster": {"ref": {"name": "stg_identifier_sightings"}},
    },
) }}

{#
    Who is known by nothing else stays unknown, and of a whole column in another notation nothing else
    would tell. Below these two it is the typing errors that every list has.
#}
{% set tolerated_share, tolerated_records = 0.05, 20 %}
{% set unchecked = of_unchecked_loads(ref("stg_identifier_sightings")) or "true" %}

with counted as (
    {% for entity in sighted_at() %}
    select
        '{{ entity }}' as entity,
        source_rows._source as source_name,
        count({{ not_blocked("email", "nullif(trim(source_rows.email), '')") }}) as emails,
        count({{ not_blocked("phone", "nullif(trim(source_rows.phone), '')") }}) as phones,
    from {{ source("sources", entity) }} as source_rows
    where {{ unchecked }} and array_length(source_rows._problems) = 0
    group by source_rows._source
    union all
    {% endfor %}
    select
        entity,
        _source as source_name,
        -sum(if(email is null, 0, record_count)) as emails,
        -sum(if(phone is null, 0, record_count)) as phones,
    from {{ ref("stg_identifier_sightings") }}
    where {{ unchecked }}
    group by entity, _source
),

by_type as (
    select entity, source_name, 'e-mail addresses' as what, emails as records from counted
    union all
    select entity, source_name, 'phone numbers' as what, phones as records from counted
),

unread as (
    select
        entity,
        source_name,
        what,
        sum(records) as unread_records,
        sum(greatest(records, 0)) as given_records,
    from by_type
    group by entity, source_name, what
)

select
    source_name || ': ' || unread_records || ' of ' || given_records || ' ' || what || ' of '
    || entity || ' cannot be read as such, so they name nobody. Look at the column that '
    || 'sources.yml maps; a phone number without +45 or the like is read in the country of its '
    || 'record.' as problem,
from unread
where
    unread_records > {{ tolerated_records }}
    and unread_records > {{ tolerated_share }} * given_records

{{
    config(
        materialized="incremental",
        incremental_strategy="by_customer",
        on_schema_change="fail",
        pre_hook=[
            "{{ expect_evidence('customer_attributes') }}",
            "{{ note_evidence(evidence_of_identity()) }}",
            "{{ find_customers_with_news() if judges_some() else '' }}",
        ],
        post_hook=["{{ keep_evidence() }}", "{{ forget_changed_contacts() }}"],
    )
}}
-- depends_on: {{ ref("identifiers") }}

with contacts as (
    select * from {{ ref("stg_contacts") }}
),

customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.customer_id,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where
        customer_xref.is_current
        and customer_xref.is_known
        {% if judges_some() %}
            and customer_xref.customer_id in (
                select judged.customer_id from {{ customers_to_judge() }} as judged
            )
        {% endif %}
),

as_of as (
    select stg_as_of.as_of_date from {{ ref("stg_as_of") }} as stg_as_of
),

records as (
    select
        customer_xref.customer_id,
        nullif(lower(trim(contacts.language)), '') as language,
        nullif(upper(trim(contacts.country)), '') as country,
        nullif(lower(trim(contacts.gender)), '') as gender,
        nullif(upper(trim(contacts.postal_code)), '') as postal_code,
        -- What a letter needs: a place alone finds nobody.
        nullif(trim(contacts.street), '') is not null
        and coalesce(nullif(trim(contacts.postal_code), ''), nullif(trim(contacts.city), ''))
        is not null as has_postal_address,
        contacts.is_club_member,
        contacts.birth_date,
        contacts.created_at,
        contacts._source,
        -- Which record is newer; the id makes a tie come out the same every time.
        row(
            coalesce(contacts.updated_at, contacts.created_at, contacts._loaded_at),
            contacts.contact_id
        ) as recency,
    from contacts
    inner join customer_xref
        on contacts.profile_key = customer_xref.profile_key
),

-- The newest record that knows a thing decides it.
surviving as (
    select
        records.customer_id,
        arg_max(records.language, records.recency) as language,
        arg_max(records.country, records.recency) as country,
        arg_max(records.gender, records.recency) as gender,
        arg_max(records.postal_code, records.recency) as postal_code,
        arg_max(records.is_club_member, records.recency) as is_club_member,
        arg_max(records.birth_date, records.recency) as birth_date,
        bool_or(records.has_postal_address) as has_postal_address,
        count(*) as contact_record_count,
        count(distinct records._source) as contact_source_count,
        min(records.created_at) as first_record_created_at,
    from records
    group by records.customer_id
),

with_age as (
    select
        surviving.*,
        {{ whole_years('surviving.birth_date', 'as_of.as_of_date') }} as age_years,
    from surviving
    cross join as_of
),

customer_attributes as (
    select
        with_age.customer_id,
        with_age.language,
        with_age.country,
        with_age.gender,
        case
            when with_age.age_years not between 0 and 120 then null
            when with_age.age_years < 18 then 'under 18'
            when with_age.age_years < 25 then '18-24'
            when with_age.age_years < 35 then '25-34'
            when with_age.age_years < 45 then '35-44'
            when with_age.age_years < 55 then '45-54'
            when with_age.age_years < 65 then '55-64'
            when with_age.age_years < 75 then '65-74'
            when with_age.age_years >= 75 then '75+'
        end as age_band,
        left(with_age.postal_code, 2) as postal_area,
        with_age.has_postal_address,
        with_age.contact_record_count,
        with_age.contact_source_count,
        with_age.is_club_member,
        with_age.first_record_created_at,
    from with_age
)

select * from customer_attributes

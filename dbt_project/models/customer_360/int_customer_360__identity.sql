{{ config(materialized="ephemeral") }}

with touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

customer_identities as (
    select * from {{ ref("customer_identities") }} as customer_identities
    where
        customer_identities.is_known
        and customer_identities.customer_id in (
            select touched_profiles.customer_id from touched_profiles
        )
),

customer_attributes as (
    select * from {{ ref("customer_attributes") }}
),

id_changes as (
    select * from {{ source("identity", "id_changes") }}
),

merges_by_customer as (
    select
        id_changes.customer_id,
        count(*) as merged_customer_count,
    from id_changes
    where id_changes.change_type = 'merged'
    group by id_changes.customer_id
),

known_customers as (
    select
        customer_identities.customer_id,
        customer_attributes.country,
        customer_attributes.language,
        customer_attributes.gender,
        customer_attributes.age_band,
        customer_attributes.postal_area,
        customer_identities.identifier_count,
        customer_identities.email_count,
        customer_identities.phone_count,
        customer_identities.cookie_id_count,
        customer_identities.device_id_count,
        coalesce(customer_attributes.contact_source_count, 0) as contact_source_count,
        coalesce(merges_by_customer.merged_customer_count, 0) as merged_customer_count,
        coalesce(customer_attributes.is_club_member, false) as is_club_member,
        coalesce(customer_attributes.has_postal_address, false) as has_postal_address,
        {{ local_date("customer_identities.first_seen_at") }} as first_seen_date,
    from customer_identities
    left join customer_attributes
        on customer_identities.customer_id = customer_attributes.customer_id
    left join merges_by_customer
        on customer_identities.customer_id = merges_by_customer.customer_id
)

select * from known_customers

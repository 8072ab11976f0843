{{ config(materialized="ephemeral") }}

with permissions as (
    select * from {{ ref("permissions") }} as permissions
    where
        permissions.customer_id in (
            select touched_profiles.customer_id
            from {{ ref("int_customer_360__touched_profiles") }} as touched_profiles
        )
),

-- Over the channels of a purpose: one yes is a yes; else what comes closest to one.
statuses_by_purpose as (
    select
        permissions.customer_id,
        permissions.purpose,
        case
            when bool_or(permissions.status = 'granted') then 'granted'
            when bool_or(permissions.status = 'conflict') then 'conflict'
            when bool_or(permissions.status = 'pending') then 'pending'
            when bool_or(permissions.status = 'expired') then 'expired'
            when bool_or(permissions.status = 'withdrawn') then 'withdrawn'
            when bool_or(permissions.status = 'denied') then 'denied'
            else 'never_asked'
        end as status,
    from permissions
    group by permissions.customer_id, permissions.purpose
),

statuses_by_customer as (
    select
        statuses_by_purpose.customer_id,
        max(statuses_by_purpose.status) filter (
            where statuses_by_purpose.purpose = 'marketing'
        ) as marketing_consent_status,
        max(statuses_by_purpose.status) filter (
            where statuses_by_purpose.purpose = 'surveys'
        ) as surveys_consent_status,
        max(statuses_by_purpose.status) filter (
            where statuses_by_purpose.purpose = 'personalisation'
        ) as personalisation_consent_status,
        max(statuses_by_purpose.status) filter (
            where statuses_by_purpose.purpose = 'advertising'
        ) as advertising_consent_status,
    from statuses_by_purpose
    group by statuses_by_purpose.customer_id
)

select * from statuses_by_customer

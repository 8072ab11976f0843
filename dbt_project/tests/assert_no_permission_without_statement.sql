{{ config(
    meta={
        "description": "Where a purpose needs consent, nobody is permitted who never granted it.",
        "dagster": {"ref": {"name": "permissions"}},
    },
) }}

-- Where a purpose needs consent, somebody of this customer must once have granted it.
with permissions as (
    select * from {{ ref("permissions") }}
),

purposes as (
    select distinct purposes.purpose
    from {{ ref("stg_purposes") }} as purposes
    where purposes.requires_consent
),

customer_xref as (
    select * from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

grants as (
    select distinct
        customer_xref.customer_id,
        consent_log.purpose,
    from {{ ref("consent_log") }} as consent_log
    inner join customer_xref
        on consent_log.profile_key = customer_xref.profile_key
    where consent_log.status = 'granted'
),

permitted_without_grant as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
    from permissions
    inner join purposes
        on permissions.purpose = purposes.purpose
    left join grants
        on
            permissions.customer_id = grants.customer_id
            and permissions.purpose = grants.purpose
    where permissions.is_permitted and grants.customer_id is null
)

select * from permitted_without_grant

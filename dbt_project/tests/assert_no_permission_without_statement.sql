{{ config(
    meta={
        "description": "Where a purpose needs consent, nobody is permitted who never granted it.",
        "dagster": {"ref": {"name": "permissions"}},
    },
) }}

-- Where a purpose needs consent, somebody of this customer must once have granted it.
with permissions as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
    from {{ ref("permissions") }} as permissions
    inner join {{ ref("purposes") }} as purposes
        on
            permissions.purpose = purposes.purpose
            and permissions.channel = purposes.channel
    where permissions.is_permitted and purposes.requires_consent
),

customer_xref as (
    select * from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

grants as (
    select
        customer_xref.customer_id,
        consent_log.purpose,
    from {{ ref("consent_log") }} as consent_log
    inner join customer_xref
        on consent_log.profile_key = customer_xref.profile_key
    where consent_log.status = 'granted'
),

permitted_without_grant as (
    select permissions.* from permissions
    anti join grants
        on
            permissions.customer_id = grants.customer_id
            and permissions.purpose = grants.purpose
)

select * from permitted_without_grant

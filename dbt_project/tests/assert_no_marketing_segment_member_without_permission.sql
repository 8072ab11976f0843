{# Dagster hangs a check on a model, and memberships is none: on the one that counts them. #}
{{ config(
    meta={
        "description": "Nobody is in a segment without permission for its purpose.",
        "dagster": {"ref": {"name": "segment_sizes"}},
    },
) }}
-- depends_on: {{ ref("segment_sizes") }}

-- Whoever is in a segment is permitted for what the segment is for, marketing above all; when the
-- segment is meant for one channel, on that channel.
with memberships as (
    select
        memberships.customer_id,
        memberships.segment,
        memberships.purpose,
    from {{ source("segments", "memberships") }} as memberships
    where memberships.is_current
),

definitions as (
    select
        definitions.segment,
        definitions.channel,
    from {{ source("segments", "definitions") }} as definitions
),

permissions as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
    from {{ ref("permissions") }} as permissions
    where permissions.is_permitted
),

members_without_permission as (
    select
        memberships.customer_id,
        memberships.segment,
        memberships.purpose,
        definitions.channel,
    from memberships
    left join definitions
        on memberships.segment = definitions.segment
    where not exists (
        select 1
        from permissions
        where
            permissions.customer_id = memberships.customer_id
            and permissions.purpose = memberships.purpose
            and permissions.channel = coalesce(definitions.channel, permissions.channel)
    )
)

select * from members_without_permission

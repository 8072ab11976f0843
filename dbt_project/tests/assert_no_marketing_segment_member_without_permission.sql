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

purposes as (
    select
        purposes.purpose,
        purposes.channel,
        purposes.requires_consent,
    from {{ ref("purposes") }} as purposes
),

-- A segment without a channel may use any of its purpose.
asked_for as (
    select
        purposes.purpose,
        purposes.channel,
        purposes.channel as asked_channel,
        purposes.requires_consent,
    from purposes
    union all
    select
        purposes.purpose,
        purposes.channel,
        'any' as asked_channel,
        purposes.requires_consent,
    from purposes
),

channel_counts as (
    select
        asked_for.purpose,
        asked_for.asked_channel,
        bool_and(asked_for.requires_consent) as requires_consent,
        count(*) as channel_count,
    from asked_for
    group by asked_for.purpose, asked_for.asked_channel
),

said as (
    select
        permissions.customer_id,
        asked_for.purpose,
        asked_for.asked_channel,
        bool_or(permissions.is_permitted) as is_permitted,
        count(*) as channel_count,
    from {{ ref("permissions") }} as permissions
    inner join asked_for
        on
            permissions.purpose = asked_for.purpose
            and permissions.channel = asked_for.channel
    group by permissions.customer_id, asked_for.purpose, asked_for.asked_channel
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
    left join channel_counts
        on
            memberships.purpose = channel_counts.purpose
            and coalesce(definitions.channel, 'any') = channel_counts.asked_channel
    left join said
        on
            memberships.customer_id = said.customer_id
            and memberships.purpose = said.purpose
            and coalesce(definitions.channel, 'any') = said.asked_channel
    where not coalesce(
        said.is_permitted
        or (
            not channel_counts.requires_consent
            and coalesce(said.channel_count, 0) < channel_counts.channel_count
        ),
        false
    )
)

select * from members_without_permission

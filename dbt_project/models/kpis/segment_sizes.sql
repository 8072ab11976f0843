with memberships as (
    select
        memberships.customer_id,
        memberships.segment,
    from {{ source("segments", "memberships") }} as memberships
    where memberships.is_current
),

definitions as (
    select
        definitions.segment,
        definitions.purpose,
    from {{ source("segments", "definitions") }} as definitions
),

as_of as (
    select * from {{ ref("as_of") }}
),

segment_sizes as (
    select
        definitions.segment,
        definitions.purpose,
        count(memberships.customer_id) as member_count,
        as_of.as_of_date,
    from definitions
    cross join as_of
    left join memberships
        on definitions.segment = memberships.segment
    group by all
)

select * from segment_sizes

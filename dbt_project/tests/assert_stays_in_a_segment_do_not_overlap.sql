{# Dagster hangs a check on a model, and memberships is none: on the one that counts them. #}
{{ config(
    meta={
        "description": "A customer is in a segment at most once at any time.",
        "dagster": {"ref": {"name": "segment_sizes"}},
    },
) }}
-- depends_on: {{ ref("segment_sizes") }}

-- A customer is in a segment once at a time, and the open stay is the last one.
with stays as (
    select
        memberships.customer_id,
        memberships.segment,
        memberships.entered_date,
        memberships.left_date,
        memberships.is_current,
        max(coalesce(memberships.left_date, date '9999-12-31')) over (
            partition by memberships.customer_id, memberships.segment
            order by memberships.entered_date, memberships.left_date
            rows between unbounded preceding and 1 preceding
        ) as left_before_date,
    from {{ source("segments", "memberships") }} as memberships
),

wrong_stays as (
    select
        stays.customer_id,
        stays.segment,
        stays.entered_date,
        stays.left_date,
    from stays
    where
        stays.entered_date < stays.left_before_date
        or stays.left_date < stays.entered_date
        or stays.is_current <> (stays.left_date is null)
)

select * from wrong_stays

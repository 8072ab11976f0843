-- Built with the room's other tables; alone it would be a dbt run of its own before all else.
-- depends_on: {{ ref("segment_sizes") }}
with days as (
    select cast(days_from_start.range as date) as date_day,
    from range(date '2000-01-01', date '2040-01-01', interval 1 day) as days_from_start
)

select * from days

-- Built with the room's other tables; alone it would be a dbt run of its own before all else.
-- depends_on: {{ ref("segment_sizes") }}
with moments as (
    select unnest(generate_series(date '2000-01-01', date '2039-12-31', interval 1 day)) as day_at
),

days as (
    select cast(moments.day_at as date) as date_day
    from moments
)

select * from days

with campaign_days as (
    select
        campaign_days.report_date,
        campaign_days.spend_base,
    from {{ ref("campaign_days") }} as campaign_days
),

-- What tills give back is among them, and lowers the revenue.
orders as (
    select
        orders.event_date,
        orders.total_amount_base,
    from {{ ref("orders") }} as orders
    where not orders.is_cancelled
),

-- Where no platform ever reported both are null, and no day lies between them.
reported_days as (
    select
        min(campaign_days.report_date) as first_date,
        max(campaign_days.report_date) as last_date,
    from campaign_days
),

moments as (
    select
        unnest(
            generate_series(reported_days.first_date, reported_days.last_date, interval 1 day)
        ) as day_at,
    from reported_days
),

days as (
    select cast(moments.day_at as date) as report_date from moments
),

spend_by_day as (
    select
        campaign_days.report_date,
        sum(campaign_days.spend_base) as spend_base,
    from campaign_days
    group by campaign_days.report_date
),

revenue_by_day as (
    select
        orders.event_date,
        sum(orders.total_amount_base) as revenue_base,
    from orders
    group by orders.event_date
),

media_days as (
    select
        days.report_date,
        cast(coalesce(spend_by_day.spend_base, 0) as decimal(18, 2)) as spend_base,
        cast(coalesce(revenue_by_day.revenue_base, 0) as decimal(18, 2)) as revenue_base,
    from days
    left join spend_by_day
        on days.report_date = spend_by_day.report_date
    left join revenue_by_day
        on days.report_date = revenue_by_day.event_date
)

select * from media_days

with customers as (
    select
        customers.customer_id,
        customers.country,
        customers.is_reachable_for_marketing,
        customers.as_of_date,
    from {{ ref("customers") }} as customers
),

customer_counts as (
    select
        coalesce(customers.country, 'unknown') as customer_count_id,
        customers.country,
        count(*) as customer_count,
        count(*) filter (where customers.is_reachable_for_marketing) as reachable_count,
        customers.as_of_date,
    from customers
    group by customers.country, customers.as_of_date
)

select * from customer_counts

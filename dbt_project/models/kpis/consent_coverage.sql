with permissions as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
        permissions.is_permitted,
    from {{ ref("permissions") }} as permissions
),

customers as (
    select
        customers.customer_id,
        customers.country,
    from {{ ref("customers") }} as customers
),

as_of as (
    select * from {{ ref("as_of") }}
),

-- A purpose may be used when one of its channels may.
permitted_customers as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
    from permissions
    where permissions.is_permitted
    union
    select
        permissions.customer_id,
        permissions.purpose,
        'any' as channel,
    from permissions
    where permissions.is_permitted
),

purposes as (
    select distinct
        permissions.purpose,
        permissions.channel,
    from permissions
    union
    select distinct
        permissions.purpose,
        'any' as channel,
    from permissions
),

customers_by_country as (
    select
        customers.country,
        count(*) as customer_count,
    from customers
    group by customers.country
),

permitted_by_country as (
    select
        permitted_customers.purpose,
        permitted_customers.channel,
        customers.country,
        count(*) as permitted_count,
    from permitted_customers
    inner join customers
        on permitted_customers.customer_id = customers.customer_id
    group by all
),

consent_coverage as (
    select
        concat_ws(
            '/',
            purposes.purpose,
            purposes.channel,
            coalesce(customers_by_country.country, 'unknown')
        ) as consent_coverage_id,
        purposes.purpose,
        purposes.channel,
        concat_ws('/', purposes.purpose, purposes.channel) as purpose_channel,
        customers_by_country.country,
        customers_by_country.customer_count,
        coalesce(permitted_by_country.permitted_count, 0) as permitted_count,
        as_of.as_of_date,
    from purposes
    cross join customers_by_country
    cross join as_of
    left join permitted_by_country
        on
            purposes.purpose = permitted_by_country.purpose
            and purposes.channel = permitted_by_country.channel
            and customers_by_country.country
            is not distinct from permitted_by_country.country
)

select * from consent_coverage

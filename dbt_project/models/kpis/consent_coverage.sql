with permissions as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
        permissions.is_permitted,
    from {{ ref("permissions") }} as permissions
),

-- What needs consent is left out where nobody was ever asked for any.
purposes as (
    select
        purposes.purpose,
        purposes.channel,
        purposes.requires_consent,
    from {{ ref("purposes") }} as purposes
    where not purposes.requires_consent or exists (select 1 from permissions)
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
asked_for as (
    select
        purposes.purpose,
        purposes.channel,
        purposes.requires_consent,
        1 as channel_count,
    from purposes
    union all
    select
        purposes.purpose,
        'any' as channel,
        bool_and(purposes.requires_consent) as requires_consent,
        count(*) as channel_count,
    from purposes
    group by purposes.purpose
),

customers_by_country as (
    select
        customers.country,
        count(*) as customer_count,
    from customers
    group by customers.country
),

said as (
    select
        permissions.customer_id,
        permissions.purpose,
        permissions.channel,
        permissions.is_permitted,
        customers.country,
    from permissions
    inner join customers
        on permissions.customer_id = customers.customer_id
),

said_of_purposes as (
    select
        said.customer_id,
        said.purpose,
        any_value(said.country) as country,
        bool_or(said.is_permitted) as is_permitted,
        count(*) as channel_count,
    from said
    group by said.customer_id, said.purpose
),

said_by_country as (
    select
        said.purpose,
        said.channel,
        said.country,
        count(*) filter (where said.is_permitted) as permitted_count,
        count(*) filter (where not said.is_permitted) as refused_count,
    from said
    group by said.purpose, said.channel, said.country
    union all
    select
        said_of_purposes.purpose,
        asked_for.channel,
        said_of_purposes.country,
        count(*) filter (where said_of_purposes.is_permitted) as permitted_count,
        count(*) filter (
            where
                not said_of_purposes.is_permitted
                and said_of_purposes.channel_count >= asked_for.channel_count
        ) as refused_count,
    from said_of_purposes
    inner join asked_for
        on
            said_of_purposes.purpose = asked_for.purpose
            and asked_for.channel = 'any'
    group by said_of_purposes.purpose, asked_for.channel, said_of_purposes.country
),

consent_coverage as (
    select
        concat_ws(
            '/',
            asked_for.purpose,
            asked_for.channel,
            coalesce(customers_by_country.country, 'unknown')
        ) as consent_coverage_id,
        asked_for.purpose,
        asked_for.channel,
        concat_ws('/', asked_for.purpose, asked_for.channel) as purpose_channel,
        customers_by_country.country,
        customers_by_country.customer_count,
        -- What needs no consent is permitted to everybody but those who refused it.
        case
            when asked_for.requires_consent then coalesce(said_by_country.permitted_count, 0)
            else customers_by_country.customer_count - coalesce(said_by_country.refused_count, 0)
        end as permitted_count,
        as_of.as_of_date,
    from asked_for
    cross join customers_by_country
    cross join as_of
    left join said_by_country
        on
            asked_for.purpose = said_by_country.purpose
            and asked_for.channel = said_by_country.channel
            and customers_by_country.country is not distinct from said_by_country.country
)

select * from consent_coverage

{{ config(materialized="ephemeral") }}

with contracts as (
    select * from {{ ref("contracts") }}
),

touched_profiles as (
    select * from {{ ref("int_customer_360__touched_profiles") }}
),

as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customer_contracts as (
    select
        touched_profiles.customer_id,
        contracts.contract_type,
        contracts.monthly_amount_base,
        contracts.started_date,
        contracts.ends_date,
        contracts.started_date <= as_of.as_of_date
        and coalesce(contracts.ends_date >= as_of.as_of_date, true)
        and coalesce(contracts.cancelled_date > as_of.as_of_date, true)
        -- A cancelled contract may run until a day to come; without a day it has ended.
        and coalesce(contracts.status <> 'ended', true)
        and (
            contracts.cancelled_date is not null
            or contracts.ends_date is not null
            or coalesce(contracts.status not in ('cancelled', 'canceled'), true)
        ) as is_active,
        date_diff('day', as_of.as_of_date, contracts.ends_date) as days_to_end,
    from contracts
    inner join touched_profiles
        on contracts.profile_key = touched_profiles.profile_key
    cross join as_of
),

contracts_by_customer as (
    select
        customer_contracts.customer_id,
        count(*) as contract_count,
        count(*) filter (where customer_contracts.is_active) as active_contract_count,
        bool_or(
            customer_contracts.is_active and customer_contracts.contract_type = 'lease'
        ) as has_active_lease,
        bool_or(
            customer_contracts.is_active and customer_contracts.contract_type = 'subscription'
        ) as has_active_subscription,
        cast(
            sum(customer_contracts.monthly_amount_base) filter (
                where customer_contracts.is_active
            ) as decimal(18, 2)
        ) as contract_amount_per_month,
        min(customer_contracts.ends_date) filter (
            where customer_contracts.is_active
        ) as next_contract_end_date,
        min(customer_contracts.days_to_end) filter (
            where customer_contracts.is_active
        ) as days_to_next_contract_end,
    from customer_contracts
    group by customer_contracts.customer_id
)

select * from contracts_by_customer

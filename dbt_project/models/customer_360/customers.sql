{#
    A view: the days that pass change a few columns of every customer, and nothing else of most.
    What is built stands in customers_as_built, each row as of the day on which it was built.
#}
{{ config(materialized="view") }}
{% set days_since = [
    "days_since_last_order",
    "days_since_last_replenishable_order",
    "days_since_last_inbound_touchpoint",
] %}

with as_of as (
    select as_of.as_of_date from {{ ref("as_of") }} as as_of
),

customers_as_built as (
    select
        built.*,
        as_of.as_of_date as today,
        date_diff('day', built.as_of_date, as_of.as_of_date) as days_passed,
    from {{ ref("customers_as_built") }} as built
    cross join as_of
),

customers as (
    select
        customers_as_built.* exclude (
            as_of_date, days_to_next_contract_end, {{ days_since | join(", ") }}, today, days_passed
        ),
        customers_as_built.today as as_of_date,
        {% for column in days_since %}
            customers_as_built.{{ column }} + customers_as_built.days_passed as {{ column }},
        {% endfor %}
        customers_as_built.days_to_next_contract_end - customers_as_built.days_passed
            as days_to_next_contract_end,
    from customers_as_built
)

select * from customers

with employees as (
    select
        employee_id,
        store_id,
        department,
        role,
        hired_date,
        left_date,
        _source as source_name,
    from {{ ref('stg_employees') }}
)

select * from employees

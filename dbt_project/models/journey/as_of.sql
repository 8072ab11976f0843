select as_of_date from {{ ref('stg_as_of') }}

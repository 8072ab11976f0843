select
    touchpoint_type,
    event_name,
    stage,
from {{ source('sources', 'event_stages') }}

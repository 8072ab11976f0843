select
    purpose,
    name,
    data_use,
    legal_basis,
    channel,
    requires_consent,
    expires_after_days,
from {{ source('sources', 'purposes') }}

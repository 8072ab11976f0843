select
    currency_code,
    base_currency,
    rate,
from {{ source('sources', 'exchange_rates') }}

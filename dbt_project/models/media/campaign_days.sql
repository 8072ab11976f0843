with ad_report_rows as (
    select * from {{ ref('stg_ad_report_rows') }}
),

exchange_rates as (
    select currency_code, base_currency, rate from {{ ref('stg_exchange_rates') }}
),

campaign_days as (
    select
        ad_report_rows.report_row_id as campaign_day_id,
        ad_report_rows.platform,
        ad_report_rows.account_id,
        ad_report_rows.account_name,
        ad_report_rows.campaign_id,
        ad_report_rows.campaign_name,
        coalesce(ad_report_rows.attribution_window, 'unknown') as attribution_window,
        ad_report_rows.time_zone,
        ad_report_rows.currency_code,
        '{{ var("base_currency") }}' as base_currency,
        ad_report_rows.spend,
        {{ in_base_currency('ad_report_rows.spend', 'exchange_rates.rate') }} as spend_base,
        coalesce(ad_report_rows.impressions, 0) as impressions,
        coalesce(ad_report_rows.clicks, 0) as clicks,
        ad_report_rows.conversions,
        ad_report_rows.conversion_value,
        {{ in_base_currency('ad_report_rows.conversion_value', 'exchange_rates.rate') }}
            as conversion_value_base,
        ad_report_rows.report_date,
        ad_report_rows._source as source_name,
        ad_report_rows._load_id,
    from ad_report_rows
    left join exchange_rates
        on ad_report_rows.currency_code = exchange_rates.currency_code
)

select * from campaign_days

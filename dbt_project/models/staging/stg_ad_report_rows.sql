{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='report_row_id',
) }}

with accepted as (
    {{ accepted_rows('ad_report_rows') }}
),

typed as (
    select
        report_row_id,
        lower(trim(platform)) as platform,
        account_id,
        account_name,
        campaign_id,
        campaign_name,
        report_date,
        time_zone,
        upper(trim(currency_code)) as currency_code,
        spend,
        impressions,
        clicks,
        conversions,
        conversion_value,
        attribution_window,
        _source,
        _table,
        _file,
        _row_number,
        _load_id,
        _loaded_at,
    from accepted
)

select * from typed

with purposes as (
    select
        stg_purposes.purpose,
        stg_purposes.channel,
        stg_purposes.name,
        stg_purposes.data_use,
        stg_purposes.legal_basis,
        stg_purposes.requires_consent,
        stg_purposes.expires_after_days,
    from {{ ref("stg_purposes") }} as stg_purposes
)

select * from purposes

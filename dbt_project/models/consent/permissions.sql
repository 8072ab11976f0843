with consent_state as (
    select * from {{ ref("consent_state") }} as consent_state
    where consent_state.status <> 'never_asked'
),

purposes as (
    select * from {{ ref("stg_purposes") }}
),

contact_points as (
    select
        contact_points.profile_key,
        contact_points.contact_point_type,
    from {{ ref("contact_points") }} as contact_points
),

customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.customer_id,
        customer_xref.is_known,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current
),

-- What needs consent has a row only where somebody has said something: no row means no.
customer_purposes as (
    select
        stating_customers.customer_id,
        purposes.purpose,
        purposes.channel,
        purposes.legal_basis,
        purposes.requires_consent,
    from (select distinct consent_state.customer_id from consent_state) as stating_customers
    cross join purposes
    where purposes.requires_consent
    union all by name
    select
        known_customers.customer_id,
        purposes.purpose,
        purposes.channel,
        purposes.legal_basis,
        purposes.requires_consent,
    from
        (
            select distinct customer_xref.customer_id
            from customer_xref
            where customer_xref.is_known
        ) as known_customers
    cross join purposes
    where not purposes.requires_consent
),

said_of_customer as (
    select * from consent_state
    where consent_state.contact_point_key is null
),

said_of_contact_points as (
    select
        consent_state.customer_id,
        consent_state.purpose,
        consent_state.channel,
        bool_or(consent_state.is_permitted) as has_permitted,
        arg_max(
            consent_state.status,
            row(consent_state.captured_at, consent_state.status)
        ) as last_status,
    from consent_state
    where consent_state.contact_point_key is not null
    group by all
),

-- Where every stated contact point is refused, one without a word of its own may still be open.
refused_contact_points as (
    select * from said_of_contact_points
    where not said_of_contact_points.has_permitted
),

refusing_customer_contact_points as (
    select distinct
        customer_xref.customer_id,
        contact_points.profile_key as contact_point_key,
        contact_points.contact_point_type,
    from contact_points
    inner join customer_xref
        on contact_points.profile_key = customer_xref.profile_key
    where
        customer_xref.customer_id in (
            select refused_contact_points.customer_id from refused_contact_points
        )
),

with_open_contact_point as (
    select distinct
        refused_contact_points.customer_id,
        refused_contact_points.purpose,
        refused_contact_points.channel,
    from refused_contact_points
    inner join refusing_customer_contact_points
        on
            refused_contact_points.customer_id = refusing_customer_contact_points.customer_id
            and refusing_customer_contact_points.contact_point_type
            = {{ contact_point_type("refused_contact_points.channel") }}
    left join consent_state
        on
            refused_contact_points.customer_id = consent_state.customer_id
            and refused_contact_points.purpose = consent_state.purpose
            and refused_contact_points.channel = consent_state.channel
            and refusing_customer_contact_points.contact_point_key
            = consent_state.contact_point_key
    where consent_state.contact_point_key is null
),

weighed as (
    select
        customer_purposes.*,
        said_of_customer.status as customer_status,
        said_of_contact_points.last_status as contact_point_status,
        coalesce(said_of_contact_points.has_permitted, false) as has_permitted_contact_point,
        coalesce(said_of_customer.is_permitted, not customer_purposes.requires_consent)
        and (
            said_of_contact_points.customer_id is null
            or with_open_contact_point.customer_id is not null
        ) as is_customer_permitted,
    from customer_purposes
    left join said_of_customer
        on
            customer_purposes.customer_id = said_of_customer.customer_id
            and customer_purposes.purpose = said_of_customer.purpose
            and customer_purposes.channel = said_of_customer.channel
    left join said_of_contact_points
        on
            customer_purposes.customer_id = said_of_contact_points.customer_id
            and customer_purposes.purpose = said_of_contact_points.purpose
            and customer_purposes.channel = said_of_contact_points.channel
    left join with_open_contact_point
        on
            customer_purposes.customer_id = with_open_contact_point.customer_id
            and customer_purposes.purpose = with_open_contact_point.purpose
            and customer_purposes.channel = with_open_contact_point.channel
),

decided as (
    select
        weighed.customer_id,
        weighed.purpose,
        weighed.channel,
        weighed.legal_basis,
        weighed.requires_consent,
        weighed.has_permitted_contact_point or weighed.is_customer_permitted as is_permitted,
        case
            when
                weighed.requires_consent
                and (weighed.has_permitted_contact_point or weighed.is_customer_permitted)
                then 'granted'
            else coalesce(weighed.contact_point_status, weighed.customer_status, 'never_asked')
        end as status,
    from weighed
),

permissions as (
    select
        decided.customer_id,
        decided.purpose,
        decided.channel,
        decided.status,
        case
            when decided.requires_consent and decided.is_permitted
                then 'consent granted'
            when decided.is_permitted
                then 'no consent needed: ' || decided.legal_basis
            when decided.requires_consent
                then 'no consent: ' || decided.status
            else 'objected: ' || decided.status
        end as reason,
        decided.is_permitted,
    from decided
)

select * from permissions

{{
    config(
        materialized="incremental",
        incremental_strategy="by_customer",
        on_schema_change="append_new_columns",
        pre_hook=[
            "{{ expect_evidence('consent_state') }}",
            "{{ expect_evidence('permissions') }}",
            "{{ note_evidence('select * from ' ~ evidence_of('consent_state')) }}",
            "{{ find_customers_to_judge(ref('consent_state')) if judges_some() else '' }}",
        ],
        post_hook="{{ keep_evidence() }}",
    )
}}
-- depends_on: {{ ref("consent_log") }}

with consent_state as (
    select * from {{ ref("consent_state") }} as consent_state
    {% if judges_some() %}
        where consent_state.customer_id in (
            select judged.customer_id from {{ customers_to_judge() }} as judged
        )
    {% endif %}
),

purposes as (
    select * from {{ ref("stg_purposes") }}
),

customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.identifier_type,
        customer_xref.customer_id,
        customer_xref.is_known,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where
        customer_xref.is_current
        {% if judges_some() %}
            and customer_xref.customer_id in (
                select judged.customer_id from {{ customers_to_judge() }} as judged
            )
        {% endif %}
),

known_customers as (
    select distinct customer_xref.customer_id
    from customer_xref
    where customer_xref.is_known
),

-- What was said of the customer, and of those contact points that have a word of their own.
said as (
    select
        consent_state.customer_id,
        consent_state.purpose,
        consent_state.channel,
        max(consent_state.status) filter (where consent_state.contact_point_key is null)
            as customer_status,
        bool_or(consent_state.is_permitted) filter (where consent_state.contact_point_key is null)
            as is_customer_permitted,
        arg_max(
            consent_state.status,
            row(consent_state.captured_at, consent_state.status)
        ) filter (where consent_state.contact_point_key is not null) as contact_point_status,
        bool_or(consent_state.is_permitted) filter (
            where consent_state.contact_point_key is not null
        ) as has_permitted_contact_point,
    from consent_state
    group by consent_state.customer_id, consent_state.purpose, consent_state.channel
),

-- Where every stated contact point is refused, one without a word of its own may still be open.
refused_contact_points as (
    select * from said
    where not said.has_permitted_contact_point
),

with_open_contact_point as (
    select distinct
        refused_contact_points.customer_id,
        refused_contact_points.purpose,
        refused_contact_points.channel,
    from refused_contact_points
    inner join customer_xref
        on
            refused_contact_points.customer_id = customer_xref.customer_id
            and customer_xref.identifier_type
            = {{ contact_point_type("refused_contact_points.channel") }}
    left join consent_state
        on
            refused_contact_points.customer_id = consent_state.customer_id
            and refused_contact_points.purpose = consent_state.purpose
            and refused_contact_points.channel = consent_state.channel
            and customer_xref.profile_key = consent_state.contact_point_key
    where consent_state.contact_point_key is null
),

weighed as (
    select
        said.customer_id,
        said.purpose,
        said.channel,
        said.customer_status,
        said.contact_point_status,
        purposes.legal_basis,
        purposes.requires_consent,
        coalesce(said.has_permitted_contact_point, false)
        or (
            coalesce(said.is_customer_permitted, not purposes.requires_consent)
            and (
                said.has_permitted_contact_point is null
                or with_open_contact_point.customer_id is not null
            )
        ) as is_permitted,
    from said
    inner join purposes
        on
            said.purpose = purposes.purpose
            and said.channel = purposes.channel
    left join known_customers
        on said.customer_id = known_customers.customer_id
    left join with_open_contact_point
        on
            said.customer_id = with_open_contact_point.customer_id
            and said.purpose = with_open_contact_point.purpose
            and said.channel = with_open_contact_point.channel
    -- What needs no consent is permitted to whom we know; of a nameless visitor no row says yes.
    where purposes.requires_consent or known_customers.customer_id is not null
),

decided as (
    select
        weighed.*,
        case
            when weighed.requires_consent and weighed.is_permitted then 'granted'
            else coalesce(weighed.contact_point_status, weighed.customer_status)
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

{#
    A customer's row depends on their facts, their identifiers and records, their consents, and on the
    day: a fact leaves a window, a contract begins or ends. All other rows stand. Of 3.5 million
    identifiers of 770,000 customers a day of news touched 50,000.
#}
{{
    config(
        materialized="table",
        pre_hook=[
            "{{ expect_evidence('customers_as_built') }}",
            "{{ note_evidence(evidence_of_customers(), customers_as_built()) }}",
            "{{ find_touched_customers() }}",
        ],
        post_hook="{{ keep_evidence(customers_as_built(), 'touched_profiles') }}",
    )
}}
-- depends_on: {{ ref("permissions") }}, {{ ref("consent_log") }}, {{ ref("consent_state") }}
-- depends_on: {{ ref("customer_attributes") }}, {{ ref("customer_identities") }}
{% for model in facts_of_customers() %}
-- depends_on: {{ ref(model) }}
{% endfor %}

{% set since = customers_built_as_of() %}
{% set until = run_query("select as_of_date from " ~ ref("as_of"))[0][0] if since else none %}

with customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.customer_id,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where customer_xref.is_current and customer_xref.is_known
),

{% if since %}
    touched_keys as (
        {% for model, ages in facts_of_customers().items() %}
            select changed.profile_key
            from {{ changed_profiles_of(ref(model)) }} as changed
            union all
            {% for age in ages %}
                select {{ model }}.profile_key
                from {{ ref(model) }} as {{ model }}
                where
                    {{ model }}.event_date > date '{{ since }}' - {{ age }}
                    and {{ model }}.event_date <= date '{{ until }}' - {{ age }}
                union all
            {% endfor %}
        {% endfor %}
        select contracts.profile_key
        from {{ ref("contracts") }} as contracts
        where
            (
                contracts.started_date > date '{{ since }}'
                and contracts.started_date <= date '{{ until }}'
            )
            or (
                contracts.cancelled_date > date '{{ since }}'
                and contracts.cancelled_date <= date '{{ until }}'
            )
            -- A contract still runs on its last day.
            or (
                contracts.ends_date >= date '{{ since }}'
                and contracts.ends_date < date '{{ until }}'
            )
    ),

    customer_attributes as (
        select * from {{ ref("customer_attributes") }}
    ),

    customer_identities as (
        select * from {{ ref("customer_identities") }} as customer_identities
        where customer_identities.is_known
    ),

    touched_customers as (
        select customer_xref.customer_id
        from customer_xref
        inner join touched_keys
            on customer_xref.profile_key = touched_keys.profile_key
        union
        -- Who was merged, was seen under a new identifier, or said something about consent.
        select judged.customer_id
        from {{ customers_to_judge(customers_as_built()) }} as judged
        union
        select customer_identities.customer_id
        from customer_identities
        left join customer_attributes
            on customer_identities.customer_id = customer_attributes.customer_id
        left join {{ customers_as_built() }} as built
            on customer_identities.customer_id = built.customer_id
        where
            (
                customer_identities.identifier_count,
                customer_identities.email_count,
                customer_identities.phone_count,
                customer_identities.cookie_id_count,
                customer_identities.device_id_count,
                {{ local_date("customer_identities.first_seen_at") }},
                customer_attributes.country,
                customer_attributes.language,
                customer_attributes.gender,
                customer_attributes.age_band,
                customer_attributes.postal_area,
                coalesce(customer_attributes.contact_source_count, 0),
                coalesce(customer_attributes.is_club_member, false),
                coalesce(customer_attributes.has_postal_address, false)
            ) is distinct from (
                built.identifier_count,
                built.email_count,
                built.phone_count,
                built.browser_count,
                built.app_device_count,
                built.first_seen_date,
                built.country,
                built.language,
                built.gender,
                built.age_band,
                built.postal_area,
                built.contact_source_count,
                built.is_club_member,
                built.has_postal_address
            )
    ),
{% endif %}

touched_profiles as (
    select * from customer_xref
    {% if since %}
        where
            customer_xref.customer_id in (
                select touched_customers.customer_id from touched_customers
            )
    {% endif %}
)

select * from touched_profiles

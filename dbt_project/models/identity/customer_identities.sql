with customer_xref as (
    select * from {{ source('identity', 'customer_xref') }}
    where is_current
),

identifiers as (
    select * from {{ ref('identifiers') }}
),

identifiers_of_customers as (
    select
        customer_xref.customer_id,
        customer_xref.is_known,
        identifiers.*,
        case identifiers.identifier_type
            {%- for identifier_type in identifier_types() %}
            when '{{ identifier_type }}' then {{ loop.index }}
            {%- endfor %}
        end as priority,
    from customer_xref
    inner join identifiers
        on customer_xref.profile_key = identifiers.profile_key
),

by_customer as (
    select
        customer_id,
        is_known,
        min(struct_pack(
            priority := priority,
            first_load_id := first_load_id,
            anchored_at := anchored_at,
            profile_key := profile_key,
            identifier_type := identifier_type
        )) as best,
        {% for identifier_type in identifier_types() %}
        count(*) filter (where identifier_type = '{{ identifier_type }}')
            as {{ identifier_type }}_count,
        {% endfor %}
        count(*) as identifier_count,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
        min(first_load_id) as first_load_id,
    from identifiers_of_customers
    group by all
),

customer_identities as (
    select
        customer_id,
        is_known,
        best.profile_key as best_profile_key,
        best.identifier_type as best_identifier_type,
        {% for identifier_type in identifier_types() %}
        {{ identifier_type }}_count,
        {% endfor %}
        identifier_count,
        first_seen_at,
        last_seen_at,
        first_load_id,
    from by_customer
)

select * from customer_identities

with customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.identifier_type,
        customer_xref.customer_id,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where
        customer_xref.is_current
        and customer_xref.is_known
        and customer_xref.identifier_type in ('email', 'phone')
        and customer_xref.customer_id in (
            select touched_profiles.customer_id
            from {{ ref("int_customer_360__touched_profiles") }} as touched_profiles
        )
),

marketing_states as (
    select * from {{ ref("consent_state") }} as consent_state
    where consent_state.purpose = 'marketing'
),

states_of_customers as (
    select * from marketing_states
    where marketing_states.contact_point_key is null
),

marketing_channels as (
    select
        purposes.channel,
        purposes.requires_consent,
    from {{ ref("purposes") }} as purposes
    where purposes.purpose = 'marketing'
),

channels as (
    select unnest(['email', 'sms', 'phone']) as channel
),

-- The word on the contact point itself counts, else the one on the customer, else what holds
-- without a word.
own_contact_points as (
    select
        customer_xref.customer_id,
        channels.channel,
        coalesce(
            marketing_states.is_permitted,
            states_of_customers.is_permitted,
            not marketing_channels.requires_consent,
            false
        ) as is_permitted,
    from customer_xref
    inner join channels
        on customer_xref.identifier_type = {{ contact_point_type("channels.channel") }}
    left join marketing_states
        on
            customer_xref.customer_id = marketing_states.customer_id
            and customer_xref.profile_key = marketing_states.contact_point_key
            and channels.channel = marketing_states.channel
    left join states_of_customers
        on
            customer_xref.customer_id = states_of_customers.customer_id
            and channels.channel = states_of_customers.channel
    left join marketing_channels
        on channels.channel = marketing_channels.channel
),

reach as (
    select
        own_contact_points.customer_id,
        {% for channel in ["email", "sms", "phone"] %}
            bool_or(own_contact_points.is_permitted) filter (
                where own_contact_points.channel = '{{ channel }}'
            ) as has_{{ channel }}_contact_point,
        {% endfor %}
    from own_contact_points
    group by own_contact_points.customer_id
)

select * from reach

{{
    config(
        materialized="incremental",
        incremental_strategy="by_customer",
        on_schema_change="append_new_columns",
        pre_hook=[
            "{{ note_evidence(evidence_of_consent()) }}",
            "{{ expect_evidence('consent_state') }}",
            "{{ find_customers_to_judge(this) if judges_some() else '' }}",
        ],
        post_hook="{{ keep_evidence() }}",
    )
}}

with purposes as (
    select * from {{ ref("stg_purposes") }}
),

customer_xref as (
    select
        customer_xref.profile_key,
        customer_xref.customer_id,
    from {{ source("identity", "customer_xref") }} as customer_xref
    where
        customer_xref.is_current
        {% if judges_some() %}
            and customer_xref.customer_id in (
                select judged.customer_id from {{ customers_to_judge() }} as judged
            )
        {% endif %}
),

{% if judges_some() %}
    statements as (
        select * from {{ ref("consent_log") }}
    ),

    -- Their own contact points, and those that they spoke for.
    their_keys as (
        select customer_xref.profile_key from customer_xref
        union
        select statements.contact_point_key as profile_key
        from statements
        inner join customer_xref
            on statements.profile_key = customer_xref.profile_key
        where statements.contact_point_key is not null
    ),

    their_statements as (
        {% for key in [
            "profile_key",
            "contact_point_key",
            "email_contact_point_key",
            "phone_contact_point_key",
        ] %}
            select
                statements.statement_source,
                statements.source_name,
                statements.consent_event_id,
            from statements
            where statements.{{ key }} in (select their_keys.profile_key from their_keys)
            {{ "union" if not loop.last }}
        {% endfor %}
    ),

    -- In all their revisions, as the latest may be about somebody else.
    consent_log as (
        select statements.* from statements
        inner join their_statements
            on
                statements.statement_source = their_statements.statement_source
                and statements.source_name = their_statements.source_name
                and statements.consent_event_id = their_statements.consent_event_id
    ),
{% else %}
    consent_log as (
        select * from {{ ref("consent_log") }}
    ),
{% endif %}

clock as (
    select {{ judged_on() }} as judged_on
    from {{ ref("stg_as_of") }}
),

-- A correction takes the place of what it corrects. Few statements have one.
corrections as (
    select
        consent_log.statement_source,
        consent_log.source_name,
        consent_log.consent_event_id,
        max(consent_log.revision) as revision,
    from consent_log
    where consent_log.revision > 1
    group by consent_log.statement_source, consent_log.source_name, consent_log.consent_event_id
),

latest_versions as (
    select consent_log.* from consent_log
    left join corrections
        on
            consent_log.statement_source = corrections.statement_source
            and consent_log.source_name = corrections.source_name
            and consent_log.consent_event_id = corrections.consent_event_id
    where corrections.revision is null or consent_log.revision = corrections.revision
),

statements_in_force as (
    select
        latest_versions.* exclude (status),
        -- A word that we do not know is not a yes.
        case
            when latest_versions.status in ('granted', 'denied', 'withdrawn', 'pending')
                then latest_versions.status
            else 'pending'
        end as status,
    from latest_versions
    cross join clock
    -- A yes from after tomorrow does not count yet; tomorrow is today in some time zone.
    where
        latest_versions.status <> 'granted'
        or latest_versions.captured_at < clock.judged_on + interval 2 day
),

-- A statement without a channel covers every channel of its purpose, and so does a refusal on a
-- channel that the purpose does not have: whoever says no to 'e-mail' means something.
statements_by_channel as (
    select
        statements_in_force.profile_key,
        case
            when covered.channel is null then statements_in_force.contact_point_key
        end as contact_point_key,
        -- Of a refusal, the address on its record that the channel goes to.
        case
            when coalesce(covered.channel, statements_in_force.channel) = 'email'
                then statements_in_force.email_contact_point_key
            when coalesce(covered.channel, statements_in_force.channel) in ('sms', 'phone')
                then statements_in_force.phone_contact_point_key
        end as refused_contact_point_key,
        statements_in_force.purpose,
        coalesce(covered.channel, statements_in_force.channel) as channel,
        statements_in_force.status,
        statements_in_force.legal_basis,
        statements_in_force.mechanism,
        statements_in_force.notice_version,
        statements_in_force.source_name,
        statements_in_force.captured_at,
        statements_in_force.expires_at,
    from statements_in_force
    left join purposes as named
        on
            statements_in_force.purpose = named.purpose
            and statements_in_force.channel = named.channel
    left join purposes as covered
        on
            statements_in_force.purpose = covered.purpose
            and named.channel is null
            and (
                statements_in_force.channel is null
                or statements_in_force.status in ('denied', 'withdrawn')
            )
    where coalesce(covered.channel, statements_in_force.channel) is not null
),

own_statements as (
    select
        customer_xref.customer_id,
        statements_by_channel.* exclude (profile_key, refused_contact_point_key),
    from statements_by_channel
    inner join customer_xref
        on statements_by_channel.profile_key = customer_xref.profile_key
),

-- Whoever has a contact point: its owner in the map, and everyone who spoke for it.
contact_point_customers as (
    select distinct
        own_statements.contact_point_key,
        own_statements.customer_id,
    from own_statements
    where own_statements.contact_point_key is not null
    union
    select
        customer_xref.profile_key as contact_point_key,
        customer_xref.customer_id,
    from customer_xref
    inner join
        (
            select statements_by_channel.contact_point_key from statements_by_channel
            union
            select statements_by_channel.refused_contact_point_key as contact_point_key
            from statements_by_channel
        ) as stated_contact_points
        on customer_xref.profile_key = stated_contact_points.contact_point_key
),

refusals as (
    select
        statements_by_channel.* exclude (profile_key, contact_point_key, refused_contact_point_key),
        -- A row may have been logged before it held the addresses on its record.
        coalesce(
            statements_by_channel.refused_contact_point_key,
            statements_by_channel.contact_point_key
        ) as contact_point_key,
    from statements_by_channel
    where
        statements_by_channel.status in ('denied', 'withdrawn')
        and coalesce(
            statements_by_channel.refused_contact_point_key,
            statements_by_channel.contact_point_key
        ) is not null
),

latest_refusals as (
    select * from refusals
    qualify
        row_number() over (
            partition by refusals.contact_point_key, refusals.purpose, refusals.channel
            order by refusals.captured_at desc, refusals.status desc
        ) = 1
),

-- A refusal binds the address whoever shares it; a grant binds only the one who gave it.
shared_refusals as (
    select
        contact_point_customers.customer_id,
        latest_refusals.*,
    from latest_refusals
    inner join contact_point_customers
        on latest_refusals.contact_point_key = contact_point_customers.contact_point_key
),

customer_statements as (
    select * from own_statements
    union all by name
    select * from shared_refusals
),

-- What customers say of all their contact points counts for each that has a word of its own.
stated_contact_points as (
    select distinct
        customer_statements.customer_id,
        customer_statements.contact_point_key,
        customer_statements.purpose,
        customer_statements.channel,
    from customer_statements
    where customer_statements.contact_point_key is not null
),

applicable_statements as (
    select * from customer_statements
    union all by name
    select
        stated_contact_points.contact_point_key,
        customer_statements.* exclude (contact_point_key),
    from customer_statements
    inner join stated_contact_points
        on
            customer_statements.customer_id = stated_contact_points.customer_id
            and customer_statements.purpose = stated_contact_points.purpose
            and customer_statements.channel = stated_contact_points.channel
    where customer_statements.contact_point_key is null
),

said_at_one_instant as (
    select
        applicable_statements.customer_id,
        applicable_statements.contact_point_key,
        applicable_statements.purpose,
        applicable_statements.channel,
        applicable_statements.captured_at,
        bool_or(applicable_statements.status = 'granted') as has_grant,
        bool_or(applicable_statements.status = 'denied') as has_denial,
        bool_or(applicable_statements.status = 'withdrawn') as has_withdrawal,
        bool_or(applicable_statements.status = 'pending') as has_pending,
        min(applicable_statements.legal_basis) as legal_basis,
        min(applicable_statements.mechanism) as mechanism,
        min(applicable_statements.notice_version) as notice_version,
        min(applicable_statements.source_name) as source_name,
        min(applicable_statements.expires_at) as expires_at,
    from applicable_statements
    group by all
),

said_last as (
    select * from said_at_one_instant
    qualify
        row_number() over (
            partition by
                said_at_one_instant.customer_id,
                said_at_one_instant.contact_point_key,
                said_at_one_instant.purpose,
                said_at_one_instant.channel
            order by said_at_one_instant.captured_at desc
        ) = 1
),

with_purpose as (
    select
        said_last.customer_id,
        said_last.contact_point_key,
        said_last.purpose,
        said_last.channel,
        coalesce(said_last.legal_basis, purposes.legal_basis) as legal_basis,
        said_last.mechanism,
        said_last.notice_version,
        said_last.source_name,
        said_last.has_grant,
        said_last.has_denial,
        said_last.has_withdrawal,
        said_last.has_pending,
        purposes.requires_consent,
        said_last.captured_at,
        coalesce(
            said_last.expires_at,
            said_last.captured_at + to_days(purposes.expires_after_days)
        ) as expires_at,
    from said_last
    left join purposes
        on
            said_last.purpose = purposes.purpose
            and said_last.channel = purposes.channel
),

judged as (
    select
        with_purpose.*,
        case
            when
                with_purpose.has_grant
                and (
                    with_purpose.has_denial
                    or with_purpose.has_withdrawal
                    or with_purpose.has_pending
                )
                then 'conflict'
            when with_purpose.has_withdrawal then 'withdrawn'
            when with_purpose.has_denial then 'denied'
            when with_purpose.has_pending then 'pending'
            when cast(with_purpose.expires_at as date) <= clock.judged_on then 'expired'
            else 'granted'
        end as status,
    from with_purpose
    cross join clock
),

consent_states as (
    select
        judged.customer_id,
        judged.contact_point_key,
        judged.channel,
        judged.purpose,
        judged.status,
        judged.legal_basis,
        judged.mechanism,
        judged.notice_version,
        judged.source_name,
        -- A purpose or channel that config/purposes.yml does not name is never permitted, nor is
        -- an unknown word anywhere: it may be an objection.
        coalesce(
            judged.status = 'granted' and judged.requires_consent is not null
            or judged.status = 'expired' and not judged.requires_consent,
            false
        ) as is_permitted,
        judged.captured_at,
        case when judged.status in ('granted', 'expired') then judged.expires_at end as expires_at,
    from judged
)

select * from consent_states

{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="append_new_columns",
        full_refresh=false,
    )
}}

{#
    Insert-only. full_refresh=false: the log is evidence and outlives `--full-refresh`, and the
    exports that it came from. A full refresh reads all of staging again and adds what the latest
    version now says differently: under a new key, or since a value was blocked, the old rows would
    find no customer any more.
#}
{%- set only_new = is_incremental() and not flags.FULL_REFRESH -%}

with consent_events as (
    select * from {{ ref("stg_consent_events") }} as stg_consent_events
    {% if only_new %}
        where stg_consent_events._load_id > (
            select coalesce(max(consent_log._load_id), 0)
            from {{ this }} as consent_log
            where consent_log.statement_source = 'consent_events'
        )
    {% endif %}
),

refusing_message_events as (
    select * from {{ ref("stg_message_events") }} as stg_message_events
    where
        stg_message_events.event_name in ('unsubscribed', 'marked_as_spam')
        {% if only_new %}
            and stg_message_events._load_id > (
                select coalesce(max(consent_log._load_id), 0)
                from {{ this }} as consent_log
                where consent_log.statement_source = 'message_events'
            )
        {% endif %}
),

stated_in_consent_events as (
    select
        'consent_events' as statement_source,
        consent_events.consent_event_id,
        consent_events.profile_key,
        consent_events.email,
        consent_events.phone,
        consent_events.purpose,
        consent_events.channel,
        consent_events.status,
        consent_events.legal_basis,
        consent_events.mechanism,
        consent_events.notice_version,
        consent_events.evidence_ref,
        consent_events._source as source_name,
        consent_events.captured_at,
        consent_events.expires_at,
        consent_events._load_id,
    from consent_events
),

-- Leaving any message's list ends marketing on its channel; a survey's list ends surveys too.
refused_purposes as (
    select
        refusing_message_events.*,
        'marketing' as purpose,
    from refusing_message_events
    union all by name
    select
        refusing_message_events.*,
        'surveys' as purpose,
    from refusing_message_events
    where refusing_message_events.message_type = 'survey'
),

stated_in_message_events as (
    select
        'message_events' as statement_source,
        refused_purposes.event_id || ':' || refused_purposes.purpose as consent_event_id,
        refused_purposes.profile_key,
        refused_purposes.email,
        refused_purposes.phone,
        refused_purposes.purpose,
        refused_purposes.channel,
        'withdrawn' as status,
        cast(null as varchar) as legal_basis,
        case refused_purposes.event_name
            when 'unsubscribed' then 'unsubscribe link'
            else 'spam complaint'
        end as mechanism,
        cast(null as varchar) as notice_version,
        refused_purposes.message_id as evidence_ref,
        refused_purposes._source as source_name,
        refused_purposes.occurred_at as captured_at,
        cast(null as timestamp) as expires_at,
        refused_purposes._load_id,
    from refused_purposes
),

stated_anywhere as (
    select * from stated_in_consent_events
    union all by name
    select * from stated_in_message_events
),

-- Of a grant the address that it is about; of a refusal each, as whoever shares it has refused.
stated as (
    select
        stated_anywhere.* exclude (email, phone),
        case
            when
                stated_anywhere.channel = 'email'
                or stated_anywhere.status in ('denied', 'withdrawn')
                then stated_anywhere.email
        end as email,
        case
            when
                stated_anywhere.channel in ('sms', 'phone')
                or stated_anywhere.status in ('denied', 'withdrawn')
                then stated_anywhere.phone
        end as phone,
    from stated_anywhere
),

-- Each address once: the keyed hash takes 7 microseconds.
email_keys as (
    select
        addresses.email,
        {{ profile_key("email", "addresses.email") }} as contact_point_key,
    from (select distinct stated.email from stated where stated.email is not null) as addresses
),

phone_keys as (
    select
        numbers.phone,
        {{ profile_key("phone", "numbers.phone") }} as contact_point_key,
    from (select distinct stated.phone from stated where stated.phone is not null) as numbers
),

statements as (
    select
        stated.* exclude (email, phone),
        case
            when stated.channel = 'email' then email_keys.contact_point_key
            when stated.channel in ('sms', 'phone') then phone_keys.contact_point_key
        end as contact_point_key,
        case
            when stated.status in ('denied', 'withdrawn') then email_keys.contact_point_key
        end as email_contact_point_key,
        case
            when stated.status in ('denied', 'withdrawn') then phone_keys.contact_point_key
        end as phone_contact_point_key,
    from stated
    left join email_keys
        on stated.email = email_keys.email
    left join phone_keys
        on stated.phone = phone_keys.phone
),

with_content_hash as (
    select
        statements.*,
        md5(
            concat_ws(
                '|',
                statements.statement_source,
                statements.consent_event_id,
                coalesce(cast(statements.profile_key as varchar), ''),
                coalesce(cast(statements.contact_point_key as varchar), ''),
                coalesce(cast(statements.email_contact_point_key as varchar), ''),
                coalesce(cast(statements.phone_contact_point_key as varchar), ''),
                statements.purpose,
                coalesce(statements.channel, ''),
                statements.status,
                coalesce(statements.legal_basis, ''),
                coalesce(statements.mechanism, ''),
                coalesce(statements.notice_version, ''),
                coalesce(statements.evidence_ref, ''),
                statements.source_name,
                cast(statements.captured_at as varchar),
                coalesce(cast(statements.expires_at as varchar), '')
            )
        ) as content_hash,
    from statements
),

latest_revisions as (
    {% if is_incremental() %}
        select
            consent_log.statement_source,
            consent_log.source_name,
            consent_log.consent_event_id,
            max(consent_log.revision) as revision,
            max(consent_log._load_id) as load_id,
            arg_max(consent_log.content_hash, consent_log.revision) as content_hash,
        from {{ this }} as consent_log
        semi join statements
            on
                consent_log.statement_source = statements.statement_source
                and consent_log.source_name = statements.source_name
                and consent_log.consent_event_id = statements.consent_event_id
        group by
            consent_log.statement_source, consent_log.source_name, consent_log.consent_event_id
    {% else %}
        select
            cast(null as varchar) as statement_source,
            cast(null as varchar) as source_name,
            cast(null as varchar) as consent_event_id,
            0 as revision,
            0 as load_id,
            cast(null as varchar) as content_hash,
        where false
    {% endif %}
),

versions as (
    select
        with_content_hash.*,
        coalesce(latest_revisions.revision, 0) as revisions_before,
        coalesce(latest_revisions.load_id, 0) as load_id_before,
        latest_revisions.content_hash as content_hash_before,
        lead(with_content_hash._load_id) over (
            partition by
                with_content_hash.statement_source,
                with_content_hash.source_name,
                with_content_hash.consent_event_id
            order by with_content_hash._load_id
        ) as next_load_id,
    from with_content_hash
    left join latest_revisions
        on
            with_content_hash.statement_source = latest_revisions.statement_source
            and with_content_hash.source_name = latest_revisions.source_name
            and with_content_hash.consent_event_id = latest_revisions.consent_event_id
),

-- Of a statement that is logged, what came since, and the latest version in any case.
versions_to_log as (
    select
        versions.*,
        coalesce(
            lag(versions.content_hash) over (
                partition by
                    versions.statement_source, versions.source_name, versions.consent_event_id
                order by versions._load_id
            ),
            versions.content_hash_before
        ) as former_content_hash,
    from versions
    where versions._load_id > versions.load_id_before or versions.next_load_id is null
),

-- The same again adds nothing; another content under the same id is a correction, a further row.
new_statements as (
    select
        versions_to_log.*,
        versions_to_log.revisions_before + row_number() over (
            partition by
                versions_to_log.statement_source,
                versions_to_log.source_name,
                versions_to_log.consent_event_id
            order by versions_to_log._load_id
        ) as revision,
    from versions_to_log
    where versions_to_log.content_hash is distinct from versions_to_log.former_content_hash
),

logged as (
    select
        -- Of nothing that tells whose it is: it is published.
        md5(
            concat_ws(
                '|',
                new_statements.statement_source,
                new_statements.source_name,
                new_statements.consent_event_id,
                new_statements.revision
            )
        ) as consent_log_id,
        new_statements.statement_source,
        new_statements.consent_event_id,
        new_statements.profile_key,
        new_statements.contact_point_key,
        new_statements.email_contact_point_key,
        new_statements.phone_contact_point_key,
        new_statements.purpose,
        new_statements.channel,
        new_statements.status,
        new_statements.legal_basis,
        new_statements.mechanism,
        new_statements.notice_version,
        new_statements.evidence_ref,
        new_statements.source_name,
        new_statements.content_hash,
        new_statements.captured_at,
        new_statements.expires_at,
        cast(new_statements.revision as integer) as revision,
        new_statements._load_id,
    from new_statements
)

select * from logged

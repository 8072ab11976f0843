{#
    How tables that tell of customers are built: by customer. A run finds the customers of whom
    anything moved that a table tells of, takes out their rows and builds them again. A customer that
    was merged away leaves nothing behind. What holds of consent for a customer depends on their own
    identifiers, on what was said under these, and on refusals of the contact points that they have.

    What a table was built from stands beside it in one row, evidence_of_<model>, written in the
    transaction that writes the table: a run that is killed, or builds the one table and not the
    other, leaves a table that says itself how far it has come.
#}

{# Of consent_state the evidence is what the room reads; permissions go by what consent_state says. #}
{% macro evidence_of_consent() -%}
    select
        {{ judged_on() }} as judged_on,
        (
            select md5(string_agg(
                concat_ws(
                    '|', purpose, channel, legal_basis, requires_consent, expires_after_days
                ), ',' order by purpose, channel
            )) from {{ ref("stg_purposes") }}
        ) as purposes_hash,
        (select coalesce(max(_load_id), 0) from {{ ref("consent_log") }}) as load_id,
        (select count(*) from {{ ref("consent_log") }}) as statement_count,
        {{ state_of_the_map() }},
        as_of_date,
        {{ now_utc() }} as noted_at
    from {{ ref("stg_as_of") }}
{%- endmacro %}


{# How far the map is: its newest stay (a key with a customer), and how many there are and ended. #}
{% macro state_of_the_map() -%}
    (
        select coalesce(max(valid_from), timestamp '1970-01-01')
        from {{ source("identity", "customer_xref") }}
    ) as map_at,
    (select count(*) from {{ source("identity", "customer_xref") }}) as stay_count,
    (select count(valid_to) from {{ source("identity", "customer_xref") }}) as ended_stay_count
{%- endmacro %}


{# An old data set is judged today, a data set of today by its own last day. #}
{% macro judged_on() -%}
    greatest(as_of_date, cast({{ now_utc() }} as date))
{%- endmacro %}


{% macro evidence_of(model, relation=this) -%}
    {{ relation.incorporate(path={"identifier": "evidence_of_" ~ model}) }}
{%- endmacro %}


{% macro customers_to_judge(relation=this) -%}
    {{ return("customers_to_judge_for_" ~ relation.identifier) }}
{%- endmacro %}


{# Before a build: note what it goes by, so that what comes in between counts for the next run. #}
{% macro note_evidence(evidence, relation=this) -%}
    {%- if can_judge_some() -%}
    create or replace temporary table evidence_for_{{ relation.identifier }} as {{ evidence }}
    {%- endif -%}
{%- endmacro %}


{# After a build, in its transaction. #}
{% macro keep_evidence(relation=this, model=none) -%}
    {%- if can_judge_some() -%}
    create or replace table {{ evidence_of(model or relation.identifier, relation) }} as
    select * from evidence_for_{{ relation.identifier }}
    {%- endif -%}
{%- endmacro %}


{# A table of before this one existed has been built from nothing that is known. #}
{% macro expect_evidence(model) -%}
    {%- if can_judge_some() -%}
    create table if not exists {{ evidence_of(model) }} (
        judged_on date, purposes_hash varchar, load_id bigint, statement_count bigint,
        identifier_count bigint, map_at timestamp, stay_count bigint, ended_stay_count bigint,
        as_of_date date, first_day date, noted_at timestamp
    )
    {%- endif -%}
{%- endmacro %}


{#
    Before an increment: whose rows are built anew, in a temporary table. Everybody's, unless the
    table was built from the same purposes, a day that is not later, and statements and stays (a key
    with a customer) of which none has gone since.
#}
{% macro find_customers_to_judge(consent_state, relation=this) -%}
    {#- Not import CTEs: DuckDB would keep a copy of the whole log and map for the few rows asked. -#}
    {%- set consent_log = ref("consent_log") ~ " as consent_log" -%}
    {%- set customer_xref = source("identity", "customer_xref") ~ " as customer_xref" -%}
    create or replace temporary table {{ customers_to_judge(relation) }} as
    with evidence as (
        select * from evidence_for_{{ relation.identifier }}
    ),

    stored as (
        select * from {{ evidence_of(relation.identifier, relation) }}
    ),

    statements_then as (
        select count(*) as statement_count from {{ consent_log }}
        cross join stored
        where consent_log._load_id <= stored.load_id
    ),

    stays_then as (
        {{ stays_then() }}
    ),

    built_from as (
        select stored.* from stored
        inner join evidence
            on
                stored.purposes_hash = evidence.purposes_hash
                and stored.judged_on <= evidence.judged_on
        inner join statements_then
            on stored.statement_count = statements_then.statement_count
        inner join stays_then
            on
                stored.stay_count = stays_then.stay_count
                and stored.ended_stay_count = stays_then.ended_stay_count
    ),

    built_from_nothing as (
        select count(*) as table_count from built_from
        having count(*) = 0
    ),

    new_statements as (
        select distinct
            consent_log.statement_source, consent_log.source_name, consent_log.consent_event_id
        from {{ consent_log }}
        cross join built_from
        where consent_log._load_id > built_from.load_id
    ),

    -- With what a correction corrects: it was somebody's too.
    moved_statements as (
        select consent_log.* from {{ consent_log }}
        inner join new_statements
            on
                consent_log.statement_source = new_statements.statement_source
                and consent_log.source_name = new_statements.source_name
                and consent_log.consent_event_id = new_statements.consent_event_id
        union all
        -- Grants that were dated ahead and begin to count.
        select consent_log.* from {{ consent_log }}
        cross join built_from
        cross join evidence
        where
            consent_log.status = 'granted'
            and consent_log.captured_at >= built_from.judged_on + interval 2 day
            and consent_log.captured_at < evidence.judged_on + interval 2 day
    ),

    moved_contact_points as (
        select contact_point_key from moved_statements
        union
        select email_contact_point_key as contact_point_key from moved_statements
        union
        select phone_contact_point_key as contact_point_key from moved_statements
    ),

    -- A refusal binds all who have the address: its owner in the map, and whoever spoke for it.
    moved_keys as (
        select profile_key from moved_statements
        union
        select contact_point_key as profile_key from moved_contact_points
        union
        select consent_log.profile_key from {{ consent_log }}
        inner join moved_contact_points
            on consent_log.contact_point_key = moved_contact_points.contact_point_key
    ),

    customers_to_judge as (
        select customer_xref.customer_id from {{ customer_xref }}
        inner join moved_keys
            on customer_xref.profile_key = moved_keys.profile_key
        where customer_xref.is_current
        union
        {{ customers_who_moved() }}
        union
        select consent_state.customer_id from {{ consent_state }} as consent_state
        cross join built_from
        cross join evidence
        where
            consent_state.status in ('granted', 'expired')
            and cast(consent_state.expires_at as date) > built_from.judged_on
            and cast(consent_state.expires_at as date) <= evidence.judged_on
        union
        select customer_xref.customer_id from {{ customer_xref }}
        cross join built_from_nothing
        where customer_xref.is_current
        union
        select built.customer_id from {{ relation }} as built
        cross join built_from_nothing
    )

    select * from customers_to_judge
{%- endmacro %}


{# The stays that a table was built from and that are still there, of the CTE `stored`. #}
{% macro stays_then() -%}
    select
        count(*) as stay_count,
        coalesce(sum(case when customer_xref.valid_to <= stored.map_at then 1 end), 0)
            as ended_stay_count
    from {{ source("identity", "customer_xref") }} as customer_xref
    cross join stored
    where customer_xref.valid_from <= stored.map_at
{%- endmacro %}


{# Whose keys came or went since, of the CTE `built_from`. #}
{% macro customers_who_moved() -%}
    select customer_xref.customer_id
    from {{ source("identity", "customer_xref") }} as customer_xref
    cross join built_from
    where
        customer_xref.valid_from > built_from.map_at
        or customer_xref.valid_to > built_from.map_at
{%- endmacro %}


{# What the tables of the identity room go by: identifiers, the map, and the day. #}
{% macro evidence_of_identity(as_of=none) -%}
    select
        (select coalesce(max(last_load_id), 0) from {{ ref("identifiers") }}) as load_id,
        (select count(*) from {{ ref("identifiers") }}) as identifier_count,
        {{ state_of_the_map() }},
        as_of_date,
        {{ now_utc() }} as noted_at
    from {{ as_of or ref("stg_as_of") }}
{%- endmacro %}


{#
    Before an increment of a table that goes by this evidence: whose rows are built anew. Those whose
    keys moved, and those of `touched_keys`, a query that may ask the CTEs `evidence` and `built_from`;
    everybody's where the table was not built from what is there, as in find_customers_to_judge, or
    where `everybody`, a condition, holds.
#}
{% macro find_customers_of_keys(touched_keys, everybody="false") -%}
    create or replace temporary table {{ customers_to_judge() }} as
    with evidence as (
        select * from evidence_for_{{ this.identifier }}
    ),

    stored as (
        select * from {{ evidence_of(this.identifier) }}
    ),

    identifiers_then as (
        select count(*) as identifier_count
        from {{ ref("identifiers") }} as identifiers
        cross join stored
        where identifiers.first_load_id <= stored.load_id
    ),

    stays_then as (
        {{ stays_then() }}
    ),

    built_from as (
        select stored.* from stored
        inner join evidence
            on stored.as_of_date <= evidence.as_of_date
        inner join identifiers_then
            on stored.identifier_count = identifiers_then.identifier_count
        inner join stays_then
            on
                stored.stay_count = stays_then.stay_count
                and stored.ended_stay_count = stays_then.ended_stay_count
        where not {{ everybody }}
    ),

    built_from_nothing as (
        select count(*) as table_count from built_from
        having count(*) = 0
    ),

    touched_keys as (
        {{ touched_keys }}
    ),

    customers_to_judge as (
        select customer_xref.customer_id
        from {{ source("identity", "customer_xref") }} as customer_xref
        inner join touched_keys
            on customer_xref.profile_key = touched_keys.profile_key
        where customer_xref.is_current
        union
        {{ customers_who_moved() }}
        union
        select customer_xref.customer_id
        from {{ source("identity", "customer_xref") }} as customer_xref
        cross join built_from_nothing
        where customer_xref.is_current
        union
        select built.customer_id from {{ this }} as built
        cross join built_from_nothing
    )

    select * from customers_to_judge
{%- endmacro %}


{# The keys that a newer load saw. #}
{% macro find_customers_seen() -%}
    {%- set seen -%}
    select identifiers.profile_key
    from {{ ref("identifiers") }} as identifiers
    cross join built_from
    where identifiers.last_load_id > built_from.load_id
    {%- endset -%}
    {{ find_customers_of_keys(seen) }}
{%- endmacro %}


{# The keys whose contact records changed, and those whose birthday has been. #}
{% macro find_customers_with_news() -%}
    {%- set contacts = ref("stg_contacts") -%}
    {%- set news -%}
    select changed.profile_key
    from {{ changed_profiles_of(contacts) }} as changed
    union
    select contacts.profile_key
    from {{ contacts }} as contacts
    cross join built_from
    cross join evidence
    where
        {{ whole_years("contacts.birth_date", "built_from.as_of_date") }}
        <> {{ whole_years("contacts.birth_date", "evidence.as_of_date") }}
    {%- endset -%}
    {{ find_customers_of_keys(news, stands_for_everybody(changed_profiles_of(contacts))) }}
{%- endmacro %}


{# Whether the facts were built from nothing (changed_profiles.sql). #}
{% macro stands_for_everybody(changed_profiles) -%}
    exists (select 1 from {{ changed_profiles }} as changed where changed.profile_key is null)
{%- endmacro %}


{# What stage entries go by: the identity room's evidence, and the day on which they begin. #}
{% macro evidence_of_stage_entries() -%}
    select
        evidence.*,
        first_day.event_date as first_day,
    from ({{ evidence_of_identity(ref("as_of")) }}) as evidence
    cross join ({{ first_day_of_the_journey() }}) as first_day
{%- endmacro %}


{# The keys whose touchpoints changed. #}
{% macro find_customers_who_moved_on() -%}
    {%- set changed = changed_profiles_of(ref("touchpoints")) -%}
    {%- set moves -%}
    select changed.profile_key from {{ changed }} as changed
    {%- endset -%}
    {%- set everybody -%}
    (
        (select evidence.first_day from evidence) is distinct from stored.first_day
        or {{ stands_for_everybody(changed) }}
    )
    {%- endset -%}
    {{ find_customers_of_keys(moves, everybody) }}
{%- endmacro %}


{# What was noted of contacts before the table was asked for is in it now. #}
{% macro forget_changed_contacts() -%}
    {%- if can_judge_some() -%}
    {{ forget_changes(ref("stg_contacts"), evidence_of(this.identifier)) }}
    {%- endif -%}
{%- endmacro %}


{# Incremental strategy: take out the rows of these customers, then insert what was built of them. #}
{% macro get_incremental_by_customer_sql(arg_dict) -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    delete from {{ arg_dict['target_relation'] }}
    where customer_id in (
        select customer_id from {{ customers_to_judge(arg_dict['target_relation']) }}
    );

    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}

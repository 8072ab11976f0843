{#
    Whose facts a run changed. Facts are built again that say what they said; of their customers only
    those count as touched of whom a row came, went or says something else. Beside each table of facts
    that customer_360 tells of lies changed_profiles_of_<model>: a row per profile key and run, written
    in the transaction that writes the facts, taken out when the customers are built. A row without a
    key stands for everybody. So it is with touchpoints and stage entries, and with contact records and
    customer_attributes.

    Spark writes its tables whole and builds all customers, so nothing is kept there.
#}

{# The tables of facts, with the ages in days at which a fact leaves one of the customer's windows;
   0 is the age at which a fact that was dated ahead begins to count. A delivery counts from its
   arrival, which is a touchpoint. #}
{% macro facts_of_customers() -%}
    {{ return({
        'touchpoints': [0, 30, 90, 365],
        'sessions': [0, 30, 90],
        'orders': [0, 90, 365],
        'order_lines': [0],
        'deliveries': [],
        'returns': [0],
        'contracts': [],
        'cases': [0, 365],
        'feedback': [0, 365],
    }) }}
{%- endmacro %}


{% macro changed_profiles_of(relation) -%}
    {{ relation.incorporate(path={"identifier": "changed_profiles_of_" ~ relation.identifier}) }}
{%- endmacro %}


{# Before facts are built: those of a first build are everybody's. #}
{% macro expect_changed_profiles() -%}
    {%- if can_judge_some() -%}
    create {{ 'table if not exists' if is_incremental() else 'or replace table' }}
    {{ changed_profiles_of(this) }} as
    select cast(null as uuid) as profile_key, {{ now_utc() }} as noted_at
    {%- endif -%}
{%- endmacro %}


{#
    In a strategy, before it takes out rows: the profile keys of the rows that differ between those
    held (a query) and those built. The load that brought a row is not part of what it says.
#}
{% macro note_changed_profiles(arg_dict, held) -%}
    {%- set relation = arg_dict['target_relation'] -%}
    {%- if relation.identifier == 'stg_contacts' or relation.identifier in facts_of_customers() -%}
    {%- set loads = ['_load_id', '_case_load_id', '_message_load_id'] -%}
    {%- set columns
        = arg_dict['dest_columns'] | map(attribute='name') | reject('in', loads) | join(', ') -%}
    insert into {{ changed_profiles_of(relation) }}
    select distinct profile_key, {{ now_utc() }} as noted_at
    from (
        select {{ columns }}
        from (
            select {{ columns }}, 1 as row_count from ({{ held }}) as held
            union all
            select {{ columns }}, -1 as row_count from {{ arg_dict['temp_relation'] }}
        ) as held_and_built
        group by all
        having sum(row_count) <> 0
    ) as changed
    where profile_key is not null;
    {%- endif -%}
{%- endmacro %}


{# What by_day and by_key do: note whose rows change, take out those held (a condition), put in those built. #}
{% macro replace_rows(arg_dict, held) -%}
    {%- set target = arg_dict['target_relation'] -%}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {{ note_changed_profiles(arg_dict, 'select * from ' ~ target ~ ' where ' ~ held) }}

    delete from {{ target }}
    where {{ held }};

    insert into {{ target }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}


{#
    The as-of day of which customers_as_built tells, when the customers that moved since can be built
    alone; none when everybody must be built: at first, on Spark, after facts that were built from
    nothing, and when the as-of day went back.
#}
{% macro customers_built_as_of() -%}
    {%- if not execute or not can_judge_some() or should_full_refresh() -%}
        {{ return(none) }}
    {%- endif -%}
    {%- for table in ('customers_as_built', 'evidence_of_customers_as_built') -%}
        {%- if not adapter.get_relation(this.database, this.schema, table) -%}
            {{ return(none) }}
        {%- endif -%}
    {%- endfor -%}
    {%- for model in facts_of_customers() -%}
        {%- set changed = changed_profiles_of(ref(model)) -%}
        {%- if run_query('select 1 from ' ~ changed ~ ' where profile_key is null limit 1') | length -%}
            {{ return(none) }}
        {%- endif -%}
    {%- endfor -%}
    {{ return(run_query(
        'select min(stored.as_of_date) from ' ~ evidence_of('customers_as_built')
        ~ ' as stored inner join ' ~ ref('as_of')
        ~ ' as as_of on stored.as_of_date <= as_of.as_of_date'
    )[0][0]) }}
{%- endmacro %}


{% macro customers_as_built() -%}
    {{ return(this.incorporate(path={'identifier': 'customers_as_built'})) }}
{%- endmacro %}


{# What the customers go by: permissions' evidence, and the day. #}
{% macro evidence_of_customers() -%}
    select
        permissions.* exclude (as_of_date, noted_at),
        as_of.as_of_date,
        {{ now_utc() }} as noted_at,
    from {{ evidence_of('permissions', ref('permissions')) }} as permissions
    cross join {{ ref('as_of') }} as as_of
{%- endmacro %}


{# Before that: whom the consent room judged since, and whose identifiers moved. #}
{% macro find_touched_customers() -%}
    {%- if customers_built_as_of() -%}
    {{ find_customers_to_judge(ref('consent_state'), customers_as_built()) }}
    {%- endif -%}
{%- endmacro %}


{# Before an increment of customers_as_built: whose rows go. Those who are nobody's customer any more
   go with them. #}
{% macro judge_touched_customers() -%}
    create or replace temporary table {{ customers_to_judge() }} as
    select touched.customer_id from {{ ref('int_customer_360__touched_profiles') }} as touched
    union
    select built.customer_id
    from {{ this }} as built
    where built.customer_id not in (
        select customer_xref.customer_id
        from {{ source('identity', 'customer_xref') }} as customer_xref
        where customer_xref.is_current and customer_xref.is_known
    )
{%- endmacro %}


{# A table that is built from nothing needs everybody, not whom an earlier run touched. #}
{% macro expect_all_touched() -%}
    {%- if can_judge_some() -%}
    select
        case
            when count(distinct touched.customer_id) < (
                select count(distinct customer_xref.customer_id)
                from {{ source('identity', 'customer_xref') }} as customer_xref
                where customer_xref.is_current and customer_xref.is_known
            )
                then error(
                    'customers_as_built is built anew, but int_customer_360__touched_profiles '
                    || 'holds only some customers: refresh both together.'
                )
        end
    from {{ ref('int_customer_360__touched_profiles') }} as touched
    {%- endif -%}
{%- endmacro %}


{# After the customers are built, in their transaction: they are as far as what touched them. #}
{% macro keep_evidence_of_touched() -%}
    {%- if can_judge_some() -%}
    create or replace table {{ evidence_of('customers_as_built') }} as
    select * from {{ evidence_of('touched_profiles') }}
    {%- endif -%}
{%- endmacro %}


{# What touched them until it was asked is done with; stage entries ask for touchpoints later. #}
{% macro forget_changed_profiles() -%}
    {%- if can_judge_some() -%}
    {%- for model in facts_of_customers() if model != 'touchpoints' %}
    {{ forget_changes(ref(model), evidence_of('touched_profiles')) }};
    {%- endfor -%}
    {%- endif -%}
{%- endmacro %}


{% macro forget_changes(facts, evidence) -%}
    delete from {{ changed_profiles_of(facts) }}
    where noted_at <= (select evidence.noted_at from {{ evidence }} as evidence)
{%- endmacro %}


{# After the stage entries: what they and the customers have both been built from. #}
{% macro forget_changed_touchpoints() -%}
    {%- if can_judge_some() -%}
    {{ forget_changes(ref('touchpoints'), evidence_of(this.identifier)) }}
    and noted_at <= (
        select customers.noted_at
        from {{ evidence_of('customers_as_built', ref('customers_as_built')) }} as customers
    )
    {%- endif -%}
{%- endmacro %}

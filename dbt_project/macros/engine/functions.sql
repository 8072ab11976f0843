{#
    What DuckDB and Spark say differently and no translation of SQL can know. The Spark versions are
    still written in DuckDB's dialect: every statement to Spark goes through one translation
    (cx_pipeline/warehouse/engine/spark_sql.py).
#}

{#
    The keyed hash that stands for an identifier everywhere outside staging and identity:
    the first 128 bits of HMAC-SHA256 (RFC 2104) of '<type>:<value>'. On DuckDB the two padded keys
    are session variables set by warehouse/session.py, on Spark the key is inside a registered
    function; so the secret stands in no SQL text.
#}
{% macro keyed_hash(text) -%}
    {{ return(adapter.dispatch('keyed_hash')(text)) }}
{%- endmacro %}

{% macro duckdb__keyed_hash(text) -%}
    cast(left(sha256(
        getvariable('hmac_outer') || unhex(sha256(getvariable('hmac_inner') || encode({{ text }})))
    ), 32) as uuid)
{%- endmacro %}

{% macro spark__keyed_hash(text) -%}
    keyed_hash({{ text }})
{%- endmacro %}


{#
    E.164, else null. A number that is plain already passes on DuckDB: normalise_phone is Python and
    costs 2 microseconds a row there, 15 if it must parse, the pattern 0.1. Which numbers are plain,
    warehouse/phone_numbers.py says. Spark runs the function over all rows of a batch, plain or not.
#}
{% macro normalised_phone() -%}
    {{ return(adapter.dispatch('normalised_phone')()) }}
{%- endmacro %}

{% macro duckdb__normalised_phone() -%}
    case
            when phone is null then null
            when regexp_full_match(phone, getvariable('plain_phone')) then {{ not_blocked('phone', 'phone') }}
            else {{ spark__normalised_phone() }}
        end
{%- endmacro %}

{% macro spark__normalised_phone() -%}
    {{ not_blocked(
        'phone',
        "nullif(normalise_phone(phone, coalesce(nullif(trim(country), ''), '" ~ var('default_country') ~ "')), '')"
    ) }}
{%- endmacro %}


{# Whether a pattern of config (RE2) matches the whole of a text, in any case. #}
{% macro matches_whole(text, pattern) -%}
    {{ return(adapter.dispatch('matches_whole')(text, "'" ~ (pattern | replace("'", "''")) ~ "'")) }}
{%- endmacro %}

{% macro duckdb__matches_whole(text, pattern) -%}
    regexp_full_match({{ text }}, {{ pattern }}, 'i')
{%- endmacro %}

{# Not Java's expressions: the same signs say other things there. #}
{% macro spark__matches_whole(text, pattern) -%}
    matches_whole({{ text }}, {{ pattern }})
{%- endmacro %}


{#
    The day of a UTC timestamp in another time zone. A conversion costs DuckDB 0.2 microseconds, with
    make_timestamptz in place of the second one that timezone('UTC', ...) would be. Most rows are spared
    it: a row on the same day at the zone's least and greatest offset (duckdb_engine.py) is on that day.
#}
{% macro date_in_time_zone(timestamp, time_zone) -%}
    {{ return(adapter.dispatch('date_in_time_zone')(timestamp, time_zone)) }}
{%- endmacro %}

{% macro duckdb__date_in_time_zone(timestamp, time_zone) -%}
    {%- set converted = "timezone('" ~ time_zone ~ "', make_timestamptz(epoch_us(" ~ timestamp ~ ")))" -%}
    {%- set offsets = var('utc_offset_seconds', none) -%}
    {%- if offsets is none -%}
    cast({{ converted }} as date)
    {%- else -%}
    {%- set least = timestamp ~ " + interval '" ~ offsets[0] ~ " seconds'" -%}
    {%- set greatest = timestamp ~ " + interval '" ~ offsets[1] ~ " seconds'" -%}
    case
            when
                cast({{ least }} as date) = cast({{ greatest }} as date)
                and {{ timestamp }} >= date '1970-01-02'
                then cast({{ least }} as date)
            else cast({{ converted }} as date)
        end
    {%- endif -%}
{%- endmacro %}

{% macro spark__date_in_time_zone(timestamp, time_zone) -%}
    cast(convert_timezone('UTC', '{{ time_zone }}', {{ timestamp }}) as date)
{%- endmacro %}


{# A timestamp of a time zone in UTC. #}
{% macro from_time_zone(timestamp, time_zone) -%}
    {{ return(adapter.dispatch('from_time_zone')(timestamp, time_zone)) }}
{%- endmacro %}

{% macro duckdb__from_time_zone(timestamp, time_zone) -%}
    timezone('UTC', timezone('{{ time_zone }}', {{ timestamp }}))
{%- endmacro %}

{% macro spark__from_time_zone(timestamp, time_zone) -%}
    convert_timezone('{{ time_zone }}', 'UTC', {{ timestamp }})
{%- endmacro %}


{# This moment as a UTC timestamp. #}
{% macro now_utc() -%}
    {{ return(adapter.dispatch('now_utc')()) }}
{%- endmacro %}

{% macro duckdb__now_utc() -%}
    timezone('UTC', now())
{%- endmacro %}

{% macro spark__now_utc() -%}
    cast(now() as timestamp)
{%- endmacro %}


{# Whole years between two dates, as birthdays count. #}
{% macro whole_years(from_date, to_date) -%}
    {{ return(adapter.dispatch('whole_years')(from_date, to_date)) }}
{%- endmacro %}

{% macro duckdb__whole_years(from_date, to_date) -%}
    date_sub('year', {{ from_date }}, {{ to_date }})
{%- endmacro %}

{% macro spark__whole_years(from_date, to_date) -%}
    cast(floor(months_between({{ to_date }}, {{ from_date }}) / 12) as bigint)
{%- endmacro %}


{# A hash over all columns of a relation but some; equal rows have equal hashes. #}
{% macro content_hash(relation, without) -%}
    {{ return(adapter.dispatch('content_hash')(relation, without)) }}
{%- endmacro %}

{% macro duckdb__content_hash(relation, without) -%}
    hash(*columns({{ relation }}.* exclude ({{ without | join(', ') }})))
{%- endmacro %}

{# Spark's hashes pass over nulls, so that a value in another column would go unseen. #}
{% macro spark__content_hash(relation, without) -%}
    md5(to_json(struct({{ relation }}.* exclude ({{ without | join(', ') }}))))
{%- endmacro %}


{# Keep the days that a run found changed, until its strategy has emptied them. #}
{% macro keep_changed_days(name, days_query) -%}
    {{ return(adapter.dispatch('keep_changed_days')(name, days_query)) }}
{%- endmacro %}

{% macro duckdb__keep_changed_days(name, days_query) -%}
    {%- do run_query('create or replace temporary table ' ~ name ~ ' as ' ~ days_query) -%}
{%- endmacro %}

{# A view of the dates themselves: one over the query would read the table that is being written. #}
{% macro spark__keep_changed_days(name, days_query) -%}
    {%- set days = dates_of(days_query) -%}
    {%- set listed = [] -%}
    {%- for day in days -%}{%- do listed.append("(date '" ~ day ~ "')") -%}{%- endfor -%}
    {%- do run_query(
        'create or replace temporary view ' ~ name ~ ' as select event_date from (values '
        ~ (listed | join(', ') or '(cast(null as date))')
        ~ ') as days (event_date) where event_date is not null'
    ) -%}
{%- endmacro %}


{# Where the keys stand that a run found changed. #}
{% macro changed_keys_table(relation=this) -%}
    {{ return(adapter.dispatch('changed_keys_table')(relation)) }}
{%- endmacro %}

{% macro duckdb__changed_keys_table(relation) -%}
    {{ return('changed_keys_of_' ~ relation.identifier) }}
{%- endmacro %}

{% macro spark__changed_keys_table(relation) -%}
    {%- set name = relation.identifier ~ '__dbt_changed_keys' -%}
    {{ return(relation.incorporate(path={'identifier': name})) }}
{%- endmacro %}

{# Keep them until the strategy has replaced their rows. #}
{% macro keep_changed_keys(name, keys_query) -%}
    {{ return(adapter.dispatch('keep_changed_keys')(name, keys_query)) }}
{%- endmacro %}

{% macro duckdb__keep_changed_keys(name, keys_query) -%}
    {%- do run_query('create or replace temporary table ' ~ name ~ ' as ' ~ keys_query) -%}
{%- endmacro %}

{# Too many for a list: a table, until the materialization drops it. #}
{% macro spark__keep_changed_keys(name, keys_query) -%}
    {%- do spark_write(name, keys_query) -%}
{%- endmacro %}


{#
    64 bits that stand for a text. Not DuckDB's own hash: of a million addresses of one pattern, 7,776
    had the hash of another; of their MD5 none.
#}
{% macro text_hash(text) -%}
    {{ return(adapter.dispatch('text_hash')(text)) }}
{%- endmacro %}

{% macro duckdb__text_hash(text) -%}
    md5_number_lower({{ text }})
{%- endmacro %}

{% macro spark__text_hash(text) -%}
    hash({{ text }})
{%- endmacro %}


{# Whether a table can lose the rows of some customers; on Spark it is written whole each time. #}
{% macro can_judge_some() -%}
    {{ return(adapter.dispatch('can_judge_some')()) }}
{%- endmacro %}

{% macro duckdb__can_judge_some() -%}
    {{ return(true) }}
{%- endmacro %}

{% macro spark__can_judge_some() -%}
    {{ return(false) }}
{%- endmacro %}


{# Whether a run judges some customers and lets the others' rows stand. #}
{% macro judges_some() -%}
    {{ return(is_incremental() and can_judge_some()) }}
{%- endmacro %}


{# The newest load that is tested (macros/checked_rows.sql); none on Spark: it writes tables whole. #}
{% macro checked_load() -%}
    {{ return(adapter.dispatch('checked_load')() if execute else 0) }}
{%- endmacro %}

{% macro duckdb__checked_load() -%}
    {%- set kept = adapter.get_relation(target.database, 'sources', 'checked_load') -%}
    {{ return(run_query('select max(load_id) from ' ~ kept)[0][0] or 0 if kept else 0) }}
{%- endmacro %}

{% macro spark__checked_load() -%}
    {{ return(0) }}
{%- endmacro %}

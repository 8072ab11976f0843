{% macro profile_key(identifier_type, value) -%}
    {{ keyed_hash("'" ~ identifier_type ~ ":' || " ~ value) }}
{%- endmacro %}


{# Identifier types, best first: the first one that a row has gives its profile_key. #}
{% macro identifier_types() -%}
    {{ return([
        'crm_id', 'loyalty_id', 'erp_customer_number', 'email', 'phone', 'device_id', 'cookie_id',
    ]) }}
{%- endmacro %}


{# '<type>:<value>' of the row's best identifier, null when it has none. #}
{% macro best_identifier() -%}
    case
    {%- for identifier_type in identifier_types() %}
            when {{ identifier_type }} is not null
                then '{{ identifier_type }}:' || {{ identifier_type }}
    {%- endfor %}
        end
{%- endmacro %}


{#
    The rows of `rows` with their profile_key. A person stands on many rows: hashing each
    identifier once and joining took 10 s for 5 million web events with 320,000 identifiers,
    hashing row by row 33 s.
#}
{% macro with_profile_key(rows) -%}
    select
        identified.* exclude (_best_identifier),
        hashed.profile_key,
    from (select *, {{ best_identifier() }} as _best_identifier from {{ rows }}) as identified
    left join (
        select
            _best_identifier,
            {{ keyed_hash('_best_identifier') }} as profile_key,
        from (select distinct {{ best_identifier() }} as _best_identifier from {{ rows }})
        where _best_identifier is not null
    ) as hashed
        on identified._best_identifier = hashed._best_identifier
{%- endmacro %}

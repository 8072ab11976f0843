{# A number or id as given: trimmed, null when empty or blocked. #}
{% macro normalised_identifier(identifier_type, value=none) -%}
    {{ not_blocked(identifier_type, "nullif(trim(" ~ (value or identifier_type) ~ "), '')") }}
{%- endmacro %}


{# Null where config names the value as one that names nobody, such as '0' or a kiosk device. #}
{% macro not_blocked(identifier_type, value) -%}
    {%- set pattern = var('blocked_identifiers', {})[identifier_type] -%}
    {%- if pattern -%}
    case
            when regexp_full_match({{ value }}, '{{ pattern | replace("'", "''") }}', 'i') then null
            else {{ value }}
        end
    {%- else -%}
    {{ value }}
    {%- endif -%}
{%- endmacro %}


{# Lower case and plausible, else null: one @, a dot behind it, no blanks. #}
{% macro normalised_email(value='email') -%}
    case
            when regexp_full_match(trim({{ value }}), '[^@\s]+@[^@\s]+\.[^@\s]+')
                then {{ not_blocked('email', 'lower(trim(' ~ value ~ '))') }}
        end
{%- endmacro %}


{#
    E.164, else null. A number that is plain already passes: normalise_phone is Python and costs 6
    microseconds a row, the pattern 0.1. Which numbers are plain, warehouse/session.py says.
#}
{% macro normalised_phone() -%}
    case
            when phone is null then null
            when regexp_full_match(phone, getvariable('plain_phone')) then {{ not_blocked('phone', 'phone') }}
            else {{ not_blocked(
                'phone',
                "nullif(normalise_phone(phone, coalesce(nullif(trim(country), ''), '" ~ var('default_country') ~ "')), '')"
            ) }}
        end
{%- endmacro %}


{#
    The seven identifiers that a person can be known by, in the order of identifier_types(). The
    rows need a column `country`, in which a phone number without a prefix is read.
#}
{% macro normalised_identifiers() -%}
    {{ normalised_identifier('crm_id') }} as crm_id,
        {{ normalised_identifier('loyalty_id') }} as loyalty_id,
        {{ normalised_identifier('erp_customer_number') }} as erp_customer_number,
        {{ normalised_email() }} as email,
        {{ normalised_phone() }} as phone,
        {{ normalised_identifier('device_id') }} as device_id,
        {{ normalised_identifier('cookie_id') }} as cookie_id
{%- endmacro %}

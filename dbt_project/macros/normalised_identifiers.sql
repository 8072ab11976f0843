{# A number or id as given: trimmed, null when empty or blocked. #}
{% macro normalised_identifier(identifier_type, value=none) -%}
    {{ not_blocked(identifier_type, "nullif(trim(" ~ (value or identifier_type) ~ "), '')") }}
{%- endmacro %}


{# Null where config names the value as one that names nobody, such as '0' or a kiosk device. #}
{% macro not_blocked(identifier_type, value) -%}
    {%- set pattern = var('blocked_identifiers', {})[identifier_type] -%}
    {%- if pattern -%}
    case
            when {{ matches_whole(value, pattern) }} then null
            else {{ value }}
        end
    {%- else -%}
    {{ value }}
    {%- endif -%}
{%- endmacro %}


{#
    Lower case and plausible, else null: one @, a dot behind it, no blanks. Marks that nobody sees
    (Cf: U+200B, a soft hyphen), which come along from web pages, are taken out.
#}
{% macro normalised_email(value='email') -%}
    {%- set plausible = '[^@\\s\\p{Cf}]+@[^@\\s\\p{Cf}]+\\.[^@\\s\\p{Cf}]+' -%}
    {%- set visible = "regexp_replace(" ~ value ~ ", '\\p{Cf}+', '', 'g')" -%}
    case
            when regexp_full_match(trim({{ value }}), '{{ plausible }}')
                then {{ not_blocked('email', 'lower(trim(' ~ value ~ '))') }}
            when regexp_full_match(trim({{ visible }}), '{{ plausible }}')
                then {{ not_blocked('email', 'lower(trim(' ~ visible ~ '))') }}
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


{# The entities whose records name people, each with when it first and last saw them. #}
{% macro sighted_at() -%}
    {{ return({
        'contacts': ('coalesce(created_at, updated_at)', 'coalesce(updated_at, created_at)'),
        'orders': ('ordered_at', 'ordered_at'),
        'web_events': ('occurred_at', 'occurred_at'),
        'message_events': ('occurred_at', 'occurred_at'),
        'cases': ('opened_at', 'opened_at'),
        'survey_responses': ('answered_at', 'answered_at'),
        'reviews': ('reviewed_at', 'reviewed_at'),
        'store_visits': ('visited_at', 'visited_at'),
        'consent_events': ('captured_at', 'captured_at'),
        'contracts': ('cast(started_date as timestamp)', 'cast(started_date as timestamp)'),
        'devices': ('registered_at', 'registered_at'),
    }) }}
{%- endmacro %}

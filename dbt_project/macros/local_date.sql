{# The day of a UTC timestamp in the company's time zone. #}
{% macro local_date(timestamp) -%}
    {%- if var('time_zone') == 'UTC' -%}
    cast({{ timestamp }} as date)
    {%- else -%}
    {{ date_in_time_zone(timestamp, var('time_zone')) }}
    {%- endif -%}
{%- endmacro %}


{# The UTC timestamp at which a day begins in the company's time zone. #}
{% macro start_of_local_date(date) -%}
    {%- if var('time_zone') == 'UTC' -%}
    cast({{ date }} as timestamp)
    {%- else -%}
    {{ from_time_zone('cast(' ~ date ~ ' as timestamp)', var('time_zone')) }}
    {%- endif -%}
{%- endmacro %}

{#
    The day of a UTC timestamp in the company's time zone. make_timestamptz spares one of the two
    zone conversions that timezone('UTC', ...) would cost.
#}
{% macro local_date(timestamp) -%}
    {%- if var('time_zone') == 'UTC' -%}
    cast({{ timestamp }} as date)
    {%- else -%}
    cast(timezone('{{ var("time_zone") }}', make_timestamptz(epoch_us({{ timestamp }}))) as date)
    {%- endif -%}
{%- endmacro %}


{# The UTC timestamp at which a day begins in the company's time zone. #}
{% macro start_of_local_date(date) -%}
    {%- if var('time_zone') == 'UTC' -%}
    cast({{ date }} as timestamp)
    {%- else -%}
    timezone('UTC', timezone('{{ var("time_zone") }}', cast({{ date }} as timestamp)))
    {%- endif -%}
{%- endmacro %}

{# The type of identifier that a channel reaches people at, null for channels without an address. #}
{% macro contact_point_type(channel) -%}
    case {{ channel }} when 'email' then 'email' when 'sms' then 'phone' when 'phone' then 'phone' end
{%- endmacro %}

{# The folder is the schema: no target prefix, one warehouse file per environment instead. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}

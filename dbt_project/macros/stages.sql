{# The place of a stage in the journey, from 1 for discover to 5 for inspire. #}
{% macro stage_position(stage) -%}
    array_position(['discover', 'explore', 'buy', 'deliver', 'inspire'], {{ stage }})
{%- endmacro %}


{#
    Whether a touchpoint says where in the journey its customer is: what the customer did, and the
    parcel that arrived, which is what `deliver` means. What the company sends moves nobody: with
    its mailings counted, 94% of `deliver` went on to a later stage, without them 17%.
#}
{% macro moves_the_customer(touchpoints='touchpoints') -%}
    ({{ touchpoints }}.direction = 'inbound' or {{ touchpoints }}.event_name = 'order_delivered')
{%- endmacro %}

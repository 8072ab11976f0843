{#
    Whether a customer may be treated for a purpose: a boolean that is never null.

    Fails closed: an unknown customer, purpose or channel, and a customer of whom nothing is known,
    are not permitted. Without a channel, the permission of any one channel of the purpose is
    enough; whatever sends a message asks with the channel.

    `in`, not a correlated `exists`: a bare `customer_id` inside a subquery would name the
    subquery's own column, the comparison would always hold and everybody would be permitted.
#}
{% macro permitted(purpose, channel=none, customer_id="customer_id") -%}
    coalesce(
        {{ customer_id }} in (
            select permissions.customer_id
            from {{ ref("permissions") }} as permissions
            where
                permissions.purpose = '{{ purpose }}'
                {%- if channel is not none %}
                and permissions.channel = '{{ channel }}'
                {%- endif %}
                and permissions.is_permitted
        ),
        false
    )
{%- endmacro %}

{#
    Whether a customer may be treated for a purpose: a boolean that is never null.

    Fails closed: an unknown customer, purpose or channel, and a customer of whom nothing is known,
    are not permitted. Without a channel, the permission of any one channel of the purpose is
    enough; whatever sends a message asks with the channel.

    consent.permissions holds only what somebody has said. A purpose that needs no consent is
    permitted to every known customer besides, unless a word of theirs stands on each of the
    channels asked for: then those words decide.

    `in`, not a correlated `exists`: a bare `customer_id` inside a subquery would name the
    subquery's own column, the comparison would always hold and everybody would be permitted.
#}
{% macro permitted(purpose, channel=none, customer_id="customer_id") -%}
    coalesce(
        {{ customer_id }} in (
            select permissions.customer_id
            from {{ ref("permissions") }} as permissions
            where {{ asked_for("permissions", purpose, channel) }} and permissions.is_permitted
        )
        or (
            {{ customer_id }} in (
                select known_customers.customer_id
                from {{ ref("int_consent__known_customers") }} as known_customers
                cross join {{ ref("purposes") }} as purposes
                where
                    {{ asked_for("purposes", purpose, channel) }}
                    and not purposes.requires_consent
            )
            and {{ customer_id }} not in (
                select permissions.customer_id
                from {{ ref("permissions") }} as permissions
                inner join {{ ref("purposes") }} as purposes
                    on
                        permissions.purpose = purposes.purpose
                        and permissions.channel = purposes.channel
                where
                    {{ asked_for("purposes", purpose, channel) }}
                    and not purposes.requires_consent
                group by permissions.customer_id
                having count(*) >= (
                    select count(*)
                    from {{ ref("purposes") }} as purposes
                    where {{ asked_for("purposes", purpose, channel) }}
                )
            )
        ),
        false
    )
{%- endmacro %}


{#
    As permitted(), and refused on no channel. What was watched is told as a whole: whoever says no to
    it in a cookie banner, which speaks of the web, has not said yes to it because of the store.
#}
{% macro permitted_and_nowhere_refused(purpose, customer_id="customer_id") -%}
    (
        {{ permitted(purpose, customer_id=customer_id) }}
        and {{ customer_id }} not in (
            select permissions.customer_id
            from {{ ref("permissions") }} as permissions
            where
                {{ asked_for("permissions", purpose, none) }}
                and not permissions.is_permitted
                and permissions.status <> 'expired'
        )
    )
{%- endmacro %}


{% macro asked_for(table, purpose, channel) -%}
    {{ table }}.purpose = '{{ purpose }}'
    {%- if channel is not none %} and {{ table }}.channel = '{{ channel }}'{% endif %}
{%- endmacro %}

{# The place of a stage in the journey, from 1 for discover to 5 for inspire. #}
{% macro stage_position(stage) -%}
    array_position(['discover', 'explore', 'buy', 'deliver', 'inspire'], {{ stage }})
{%- endmacro %}


{#
    Whether a touchpoint says where in the journey its customer is: what the customer did, and the
    parcel that arrived, which is what `deliver` means. What the company sends moves nobody: with
    its mailings counted, 94% of `deliver` went on to a later stage, without them 17%. Nor does what a
    device signals of itself: it has no direction. Who leaves a list or says what they allow takes no
    step.
#}
{% macro moves_the_customer() -%}
    (
        touchpoints.direction = 'inbound'
        and coalesce(
            touchpoints.event_name not in (
                'unsubscribed', 'marked_as_spam', 'consent_preference_updated'
            ),
            true
        )
        or touchpoints.event_name = 'order_delivered'
    )
{%- endmacro %}


{#
    Whether a touchpoint is a contact of its own: a report of delivery tells of one that counts. So
    does the report of a purchase, where reported_order_id() names an order of the customer.
#}
{% macro is_contact() -%}
    (
        touchpoints.touchpoint_type <> 'message'
        or coalesce(touchpoints.event_name not in ('delivered', 'bounced'), true)
    )
{%- endmacro %}


{#
    The order whose purchase a touchpoint reports, as the scan of a card at a till and the webshop's
    event do: it is no contact of its own where the order is one of the same customer. Only the
    customers' room knows whose they are.
#}
{% macro reported_order_id() -%}
    case
            when touchpoints.touchpoint_type = 'store_visit' and touchpoints.event_name = 'loyalty_scan'
                then touchpoints.order_id
            when touchpoints.touchpoint_type = 'web' and touchpoints.event_name = 'order_completed'
                then touchpoints.order_id
        end
{%- endmacro %}


{#
    The orders beside which the report of the purchase is no contact of its own: of the customer and
    not of the order alone. Where another bought, or nobody that is known, the report is all that tells
    of the customer's part.
#}
{% macro orders_of_touched_customers() -%}
    select
        touched_profiles.customer_id,
        orders.order_id,
    from {{ ref("orders") }} as orders
    inner join {{ ref("int_customer_360__touched_profiles") }} as touched_profiles
        on orders.profile_key = touched_profiles.profile_key
    where
        orders.event_date <= (select as_of.as_of_date from {{ ref("as_of") }} as as_of)
{%- endmacro %}


{# How many days a person may take from one stage to a later one. #}
{% macro stage_window_days() -%}
    {{ return(30) }}
{%- endmacro %}


{# Contracts began years before the rest is known; who of them explored or not, nobody can tell. #}
{% macro first_day_of_the_journey() -%}
    select min(touchpoints.event_date) as event_date
    from {{ ref("touchpoints") }} as touchpoints
    where touchpoints.touchpoint_type in ('web', 'order', 'store_visit')
{%- endmacro %}

{#
    Which landed rows stand. The staging models, staging.quarantine and staging.load_balance all
    take their rows from here, so that the books balance by construction:
    a row with problems is quarantined; of one key the newest load, and in it the last file,
    stands; in one file the first row stands, its identical repeats are dropped and repeats that
    differ are quarantined, and so are the rows of another table that differ.
#}

{# Key column of each entity of the input contract (_staging__sources.yml). #}
{% macro entity_keys() -%}
    {{ return({
        'contacts': 'contact_id',
        'orders': 'order_id',
        'order_lines': 'order_line_id',
        'payments': 'payment_id',
        'deliveries': 'delivery_id',
        'returns': 'return_id',
        'products': 'product_id',
        'stores': 'store_id',
        'employees': 'employee_id',
        'web_events': 'event_id',
        'message_events': 'event_id',
        'cases': 'case_id',
        'case_messages': 'case_message_id',
        'survey_responses': 'response_id',
        'reviews': 'review_id',
        'store_visits': 'store_visit_id',
        'consent_events': 'consent_event_id',
        'contracts': 'contract_id',
        'devices': 'device_serial',
        'device_events': 'device_event_id',
        'ad_report_rows': 'report_row_id',
        'weather_days': 'weather_day_id',
    }) }}
{%- endmacro %}


{# The newest load that a table holds; a number in the compiled SQL, so that Parquet files of
   older loads are not opened. #}
{% macro last_load_id(column='_load_id', relation=this) -%}
    {%- if execute and is_incremental() -%}
        {{ return(run_query('select coalesce(max(' ~ column ~ '), 0) from ' ~ relation)[0][0]) }}
    {%- endif -%}
    {{ return(0) }}
{%- endmacro %}


{# The newest load that is landed as a whole. #}
{% macro newest_load_id() -%}
    {{ return(run_query(
        'select coalesce(max(load_id), 0) from ' ~ source('sources', 'loads') ~ ' where is_complete'
    )[0][0]) }}
{%- endmacro %}


{# Order in which of one load the last table and file stands. Numbers in a file's name count as
   numbers, so that day-10 comes after day-9. #}
{% macro last_file_first() -%}
    _source desc,
    _table desc,
    regexp_replace(
        regexp_replace(_file, '([0-9]+)', '{{ '0' * 20 }}\1', 'g'), '[0-9]*([0-9]{20})', '\1', 'g'
    ) desc,
    _file desc
{%- endmacro %}


{#
    The good rows of the loads that this model does not hold yet, one per key, or with `of_each_load`
    one per key and load. Only keys that came more than once are ranked: ranking all of 5 million web
    events took 7 s, looking for repeated keys takes 0.8 s and usually finds none.
#}
{% macro accepted_rows(entity, of_each_load=false) -%}
    {%- set key = entity_keys()[entity] -%}
    with new_rows as not materialized (
        select * from {{ source('sources', entity) }} where _load_id > {{ last_load_id() }}
    ),

    repeated_keys as (
        select hash({{ key }}) as key_hash
        from new_rows
        group by key_hash
        having count(*) > 1
    ),

    standing_repeats as (
        select new_rows.{{ key }}, _load_id, _source, _table, _file, _row_number
        from new_rows
        semi join repeated_keys
            on hash(new_rows.{{ key }}) = repeated_keys.key_hash
        where array_length(new_rows._problems) = 0
        qualify row_number() over (
            partition by new_rows.{{ key }}{{ ', _load_id' if of_each_load }}
            order by _load_id desc, {{ last_file_first() }}, _row_number
        ) = 1
    )

    select new_rows.* exclude (_problems)
    from new_rows
    left join standing_repeats
        on
            new_rows.{{ key }} = standing_repeats.{{ key }}
            {% if of_each_load %} and new_rows._load_id = standing_repeats._load_id {% endif %}
    where
        array_length(new_rows._problems) = 0
        and (
            standing_repeats.{{ key }} is null
            or (
                new_rows._load_id = standing_repeats._load_id
                and new_rows._source = standing_repeats._source
                and new_rows._table = standing_repeats._table
                and new_rows._file is not distinct from standing_repeats._file
                and new_rows._row_number is not distinct from standing_repeats._row_number
            )
        )
{%- endmacro %}


{#
    `rows` with all that they ever belonged to before: a payment that moves to another order changes
    both, and of the version that this model held before, nothing would be left to tell. A later
    version keeps the list, for the run that brought the former one may have been killed before the
    facts.
#}
{% macro with_previous(rows, key, parent) -%}
    {%- if is_incremental() -%}
    select
        {{ rows }}.*,
        list_sort(list_distinct(list_filter(
            list_append(held.previous_{{ parent }}s, held.{{ parent }}),
            lambda previous: previous <> coalesce({{ rows }}.{{ parent }}, '')
        ))) as previous_{{ parent }}s,
    from {{ rows }}
    left join {{ this }} as held
        on {{ rows }}.{{ key }} = held.{{ key }}
    {%- else -%}
    select *, cast([] as varchar[]) as previous_{{ parent }}s from {{ rows }}
    {%- endif -%}
{%- endmacro %}


{#
    The rows of the loads (a list of numbers, so that Parquet files of other loads are not opened)
    that did not make it into staging, each with its key, its outcome ('quarantined' or
    'deduplicated') and its problems.
#}
{% macro set_aside_rows(entity, load_ids) -%}
    {%- set key = entity_keys()[entity] -%}
    with landed_rows as not materialized (
        select * from {{ source('sources', entity) }}
        where _load_id in ({{ load_ids | join(', ') }})
    ),

    repeated_keys as (
        select _load_id, hash({{ key }}) as key_hash
        from landed_rows
        group by all
        having count(*) > 1
    ),

    repeats as (
        select
            landed_rows.{{ key }} as entity_key,
            _load_id,
            _source,
            _table,
            _file,
            _row_number,
            {{ content_hash('landed_rows', [
                '_source', '_table', '_file', '_row_number', '_load_id', '_loaded_at', '_problems',
            ]) }} as content_hash,
            {{ may_be_refusal(entity) }} as may_be_refusal,
        from landed_rows
        semi join repeated_keys
            on
                landed_rows._load_id = repeated_keys._load_id
                and hash(landed_rows.{{ key }}) = repeated_keys.key_hash
        where array_length(landed_rows._problems) = 0
    ),

    ranked_repeats as (
        select
            *,
            row_number() over file_order as rank_in_file,
            first_value(content_hash) over file_order as first_content_hash,
            dense_rank() over (
                partition by _load_id, entity_key
                order by {{ last_file_first() }}
            ) as file_rank_from_last,
            first_value(content_hash) over standing_order as standing_content_hash,
            first_value(_source || '.' || _table) over standing_order as standing_table,
        from repeats
        window
            file_order as (
                partition by _load_id, entity_key, _source, _table, _file order by _row_number
            ),
            standing_order as (
                partition by _load_id, entity_key
                order by {{ last_file_first() }}, _row_number
            )
    ),

    repeats_set_aside as (
        select
            _load_id,
            _source,
            _table,
            _file,
            _row_number,
            entity_key,
            may_be_refusal,
            if(content_hash = first_content_hash, 'deduplicated', 'quarantined') as outcome,
            if(
                content_hash = first_content_hash,
                [],
                ['{{ key }}: duplicate key, and the row differs from the first one in the file']
            ) as problems,
        from ranked_repeats
        where rank_in_file > 1

        union all by name

        select
            _load_id,
            _source,
            _table,
            _file,
            _row_number,
            entity_key,
            may_be_refusal,
            if(is_conflict, 'quarantined', 'deduplicated') as outcome,
            if(
                is_conflict,
                [
                    '{{ key }}: the key comes from ' || standing_table || ' too, and the row there '
                    || 'differs; make the keys of the two tables differ in sources.yml'
                ],
                []
            ) as problems,
        from (
            select
                *,
                standing_table <> _source || '.' || _table
                and standing_content_hash <> content_hash as is_conflict,
            from ranked_repeats
        )
        where rank_in_file = 1 and file_rank_from_last > 1
    ),

    rows_with_problems as (
        select
            _load_id,
            _source,
            _table,
            _file,
            _row_number,
            {{ key }} as entity_key,
            {{ may_be_refusal(entity) }} as may_be_refusal,
            'quarantined' as outcome,
            _problems as problems,
        from landed_rows
        where array_length(_problems) > 0
    )

    select * from repeats_set_aside
    union all by name
    select * from rows_with_problems
{%- endmacro %}


{# Whether a row takes a consent back, for all that can be read of it. #}
{% macro may_be_refusal(entity) -%}
    {%- if entity == 'consent_events' -%}
    true
    {%- elif entity == 'message_events' -%}
    coalesce({{ message_event_name() }} in ('unsubscribed', 'marked_as_spam'), true)
    {%- else -%}
    false
    {%- endif -%}
{%- endmacro %}


{#
    What happened to a message. What refuses is known in the words of SendGrid, Mailgun, Mandrill,
    Mailjet, Postmark, Amazon SES and Klaviyo too; any other word stays as it is.
#}
{% macro message_event_name() -%}
    case
            when
                lower(trim(event_name)) in (
                    'unsubscribed', 'unsubscribe', 'unsub', 'group_unsubscribe', 'list_unsubscribe'
                )
                then 'unsubscribed'
            when
                lower(trim(event_name)) in (
                    'marked_as_spam', 'marked email as spam', 'spam', 'spamreport', 'spam_report',
                    'spamcomplaint', 'spam_complaint', 'complaint', 'complained'
                )
                then 'marked_as_spam'
            else lower(trim(event_name))
        end
{%- endmacro %}

{#
    How tables come about on Spark: each time as a new version, a folder of Parquet files, of which
    the newest finished one is the table (cx_pipeline/warehouse/engine/spark_engine.py). Increments
    write the whole table too: Parquet has no delete, and a version that is whole can be swapped.
#}

{% macro spark_write(relation, query) -%}
    {%- set version = modules.datetime.datetime.now(modules.pytz.utc).strftime('%Y%m%dT%H%M%S%f') -%}
    {%- set building = relation.schema ~ '.' ~ relation.identifier ~ '__dbt_tmp' -%}
    {%- set folder = var('spark_folder') ~ '/' ~ relation.schema ~ '/' ~ relation.identifier -%}
    {%- do run_query('drop table if exists ' ~ building) -%}
    {%- call statement('main') -%}
        create table {{ building }} using parquet location '{{ folder }}/{{ version }}' as
        {{ query }}
    {%- endcall -%}
    {%- do run_query('drop table if exists ' ~ relation) -%}
    {%- do run_query('alter table ' ~ building ~ ' rename to ' ~ relation) -%}
{%- endmacro %}


{% materialization table, adapter='spark' %}
    {%- set relation = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks) }}
    {%- do spark_write(relation, compiled_code) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}


{# There is no catalogue that a view could outlive its session in; the one view is small. #}
{% materialization view, adapter='spark' %}
    {%- set relation = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks) }}
    {%- do spark_write(relation, compiled_code) -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}


{% materialization incremental, adapter='spark' %}
    {%- set relation = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks) }}
    {#- By customer means by all of them here: can_judge_some() is false. -#}
    {%- set is_whole = config.get('incremental_strategy') == 'by_customer' or should_full_refresh() -%}
    {%- if load_cached_relation(this) and not is_whole -%}
        {%- set fresh = relation.incorporate(path={'identifier': relation.identifier ~ '__dbt_new'}) -%}
        {%- do spark_write(fresh, compiled_code) -%}
        {%- do spark_write(relation, spark_kept_and_fresh(relation, fresh)) -%}
        {%- do run_query('drop table ' ~ fresh) -%}
        {%- do run_query('drop table if exists ' ~ changed_keys_table(relation)) -%}
    {%- else -%}
        {%- do spark_write(relation, compiled_code) -%}
    {%- endif -%}
    {{ run_hooks(post_hooks) }}
    {{ return({'relations': [relation]}) }}
{% endmaterialization %}


{# The rows that stay, by the strategy, and the new ones. #}
{% macro spark_kept_and_fresh(relation, fresh) -%}
    {%- set strategy = config.get('incremental_strategy') -%}
    {%- set key = config.get('unique_key') -%}
    select * from {{ fresh }}
    union all by name
    select kept.* from {{ relation }} as kept
    {% if strategy == 'by_day' -%}
    anti join {{ changed_days_table(relation) }} as changed on kept.event_date = changed.event_date
    {%- elif strategy == 'by_changed_key' -%}
    anti join {{ changed_keys_table(relation) }} as changed on kept.{{ key }} = changed.{{ key }}
    {%- elif strategy in ('delete+insert', 'by_key') -%}
    anti join {{ fresh }} as fresh on
        {%- for column in ([key] if key is string else key) %}
        {{ 'and ' if not loop.first }}kept.{{ column }} = fresh.{{ column }}
        {%- endfor %}
    {%- endif %}
{%- endmacro %}

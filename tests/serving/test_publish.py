import re
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st

from cx_pipeline.serving.catalogue import TableNotBuiltError, UndeclaredColumnError
from cx_pipeline.serving.publish import Publication, publish
from cx_pipeline.serving.version_file import PublicationError, _on_days, _rewrite
from cx_pipeline.settings import Settings
from tests.serving.planted_warehouse import EMAIL, NAME, PHONE, fill_warehouse, make_manifest


def read(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(settings.serving_dir / "bi.duckdb"), read_only=True) as reader:
        return reader.execute(sql).fetchall()


@pytest.fixture
def publish_now(warehouse: Any, settings: Settings) -> Callable[[], Publication]:
    return lambda: publish(warehouse, settings, make_manifest(warehouse), run_id="run-1")


def test_the_link_is_relative_and_points_to_a_numbered_file(publish_now, settings):
    publication = publish_now()

    assert publication.path.readlink().name == str(publication.path.readlink()) == "bi-1.duckdb"
    assert sorted(path.name for path in settings.serving_dir.iterdir()) == [
        "bi-1.duckdb",
        "bi.duckdb",
    ]


def test_a_reader_finds_the_rooms_as_schemas_with_counts_and_comments(publish_now, settings):
    publish_now()

    assert read(settings, "select count(*) from journey.touchpoints") == [(1001,)]
    assert read(settings, "select table_name, row_count from publication.manifest order by 1") == [
        ("as_of", 1),
        ("consent_state", 1),
        ("customer_xref", 1),
        ("customers", 1),
        ("feedback", 1),
        ("latest", 1001),
        ("touchpoints", 1001),
    ]
    assert read(
        settings,
        "select comment from duckdb_columns() where column_name = 'monetary'",
    ) == [("The monetary's value.",)]
    assert read(
        settings, "select version, run_id, as_of_date::varchar from publication.version"
    ) == [(1, "run-1", "2026-11-20")]


def test_the_file_is_written_in_the_format_that_old_readers_know(publish_now, settings):
    publish_now()

    tags = "select tags from duckdb_databases() where database_name = current_database()"
    assert read(settings, tags)[0][0]["storage_version"].startswith("v1.0.0")


def test_the_same_content_is_not_published_again(publish_now):
    first = publish_now()
    second = publish_now()

    assert first.is_new
    assert not second.is_new
    assert second.version == first.version


def test_a_changed_row_makes_a_new_version(publish_now, warehouse):
    publish_now()
    warehouse.execute("update customer_360.customers set monetary = 13")

    assert publish_now().version == 2


def test_one_more_copy_of_a_row_makes_a_new_version(publish_now, warehouse):
    publish_now()
    warehouse.execute("insert into experience.feedback from experience.feedback")

    assert publish_now().version == 2


def test_the_order_of_rows_is_no_change(publish_now, warehouse):
    publish_now()
    warehouse.execute(
        "create or replace table journey.touchpoints as "
        "from journey.touchpoints order by touchpoint_id desc"
    )

    assert not publish_now().is_new


def test_the_order_of_days_that_lie_decades_apart_is_no_change(publish_now, warehouse):
    # DuckDB groups by day in the order of days only while they span less than 4,096.
    warehouse.execute(
        "create table journey.orders as select date '1996-01-01' + (range * 11)::integer as "
        "event_date, range as order_id from range(1000)"
    )
    publish_now()
    warehouse.execute(
        "create or replace table journey.orders as from journey.orders order by order_id desc"
    )

    assert not publish_now().is_new


def test_a_changed_description_makes_a_new_version(warehouse, settings):
    manifest = make_manifest(warehouse)
    publish(warehouse, settings, manifest)
    manifest["nodes"]["model.cx_pipeline.customers"]["description"] = "One row per customer."

    assert publish(warehouse, settings, manifest).is_new


def test_the_last_three_versions_are_kept(publish_now, warehouse, settings):
    for generation in range(2, 7):
        fill_warehouse(warehouse, generation)
        publish_now()

    kept = sorted(path.name for path in settings.serving_dir.glob("bi-*"))
    assert kept == ["bi-3.duckdb", "bi-4.duckdb", "bi-5.duckdb"]


def test_a_reader_keeps_its_version_while_newer_ones_come(publish_now, warehouse, settings):
    publish_now()
    with duckdb.connect(str(settings.serving_dir / "bi.duckdb"), read_only=True) as reader:
        for generation in range(2, 8):
            fill_warehouse(warehouse, generation)
            publish_now()
        generation = reader.execute("select max(generation) from journey.touchpoints").fetchall()

    assert generation == [(1,)]
    assert read(settings, "select max(generation) from journey.touchpoints") == [(7,)]


def test_versions_that_were_never_linked_push_out_none_that_was(
    publish_now, warehouse, settings, monkeypatch
):
    publish_now()
    for generation in range(2, 5):
        fill_warehouse(warehouse, generation)
        with monkeypatch.context() as killed:
            killed.setattr("cx_pipeline.serving.publish._swap", _refuse)
            with pytest.raises(RuntimeError, match="refused"):
                publish_now()
    fill_warehouse(warehouse, 1)

    assert not publish_now().is_new
    assert read(settings, "select max(generation) from journey.touchpoints") == [(1,)]
    assert [path.name for path in settings.serving_dir.glob("bi-*")] == ["bi-1.duckdb"]


def test_numbers_go_on_after_the_newest_file_was_taken_away(publish_now, warehouse, settings):
    publish_now()
    fill_warehouse(warehouse, 2)
    publish_now()
    (settings.serving_dir / "bi-2.duckdb").unlink()

    assert publish_now().version == 3


def test_a_damaged_file_is_replaced(publish_now, settings):
    publish_now()
    file = settings.serving_dir / "bi-1.duckdb"
    file.chmod(0o600)
    file.write_bytes(b"not a database")

    assert publish_now().version == 2


def damage_inside(file):
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4096] = bytes(4096)
    file.chmod(0o600)
    file.write_bytes(content)


def test_a_file_damaged_inside_is_replaced_though_nothing_is_new(publish_now, warehouse, settings):
    warehouse.execute(
        "create table journey.deliveries as select sha256(range::varchar) as delivery_id "
        "from range(100000)"
    )
    publish_now()
    damage_inside(settings.serving_dir / "bi-1.duckdb")

    assert publish_now().version == 2
    assert read(settings, "select count(distinct delivery_id) from journey.deliveries") == [
        (100000,)
    ]


def test_nobody_may_write_to_a_published_file(publish_now, settings):
    publish_now()

    assert (settings.serving_dir / "bi-1.duckdb").stat().st_mode & 0o222 == 0


def test_personal_columns_and_unknown_categories_stay_at_home(publish_now, settings):
    publication = publish_now()

    columns = read(
        settings,
        "select column_name from duckdb_columns() where schema_name = 'customer_360' order by 1",
    )
    assert [name for (name,) in columns] == [
        "customer_id",
        "generation",
        "is_analytics_permitted",
        "monetary",
    ]
    assert publication.withheld["experience.feedback"] == ("comment",)


def test_planted_personal_values_are_in_the_warehouse_but_not_in_the_published_bytes(
    publish_now, warehouse, settings
):
    publish_now()
    warehouse.execute("checkpoint")
    # A byte search of a compressed file proves little by itself: the copy below, which leaves
    # nothing out, shows that the search finds what is there.
    control = settings.data_dir / "control.duckdb"
    warehouse.execute(f"attach '{control}' as control (storage_version 'v1.0.0')")
    warehouse.execute("create table control.customers as from customer_360.customers")
    warehouse.execute("create table control.feedback as from experience.feedback")
    warehouse.execute("detach control")

    published = (settings.serving_dir / "bi-1.duckdb").read_bytes()
    for planted in (EMAIL, PHONE, NAME):
        assert planted.encode() in control.read_bytes()
        assert planted.encode() not in published
    for schema, table in read(
        settings, "select schema_name, table_name from duckdb_tables() where not internal"
    ):
        rows = repr(read(settings, f"select * from {schema}.{table}"))
        assert not any(planted in rows for planted in (EMAIL, PHONE, NAME))


@pytest.mark.parametrize(
    "value",
    [
        f"?mail={EMAIL}&x=1",
        PHONE,
        "/unsubscribe/signe%40example.dk",
        "signe@example.\u0440\u0444",
        "call +45 2012 3456",
        "tel:+4520123456",
        ["a", EMAIL],
    ],
)
def test_a_personal_value_in_a_column_that_nobody_tagged_stops_the_publication(
    publish_now, warehouse, settings, value
):
    publish_now()
    warehouse.execute("create or replace table kpis.page as select $1 as landing_url", [value])

    with pytest.raises(PublicationError, match=r"kpis\.page\.landing_url .* in 1 rows"):
        publish(warehouse, settings, make_manifest(warehouse))
    assert read(settings, "select version from publication.version") == [(1,)]


@pytest.mark.parametrize(
    "value", ["1+1", "2026-11-28 10:00:00+01:00", "C+12", "/@shop/sale", "5+20261128", "+2.50"]
)
def test_what_only_looks_a_little_personal_is_published(publish_now, warehouse, settings, value):
    warehouse.execute("create or replace table kpis.page as select $1 as landing_url", [value])

    publish(warehouse, settings, make_manifest(warehouse))
    assert read(settings, "select landing_url from kpis.page") == [(value,)]


def test_a_column_that_nobody_described_stops_the_publication(warehouse, settings):
    manifest = make_manifest(warehouse)
    publish(warehouse, settings, manifest)
    warehouse.execute("alter table customer_360.customers add column shoe_size integer")

    with pytest.raises(UndeclaredColumnError, match=r"customer_360\.customers\.shoe_size"):
        publish(warehouse, settings, manifest)
    assert read(settings, "select version from publication.version") == [(1,)]


@pytest.mark.parametrize("table", ["journey.as_of", "identity.customer_xref"])
def test_a_table_that_was_never_built_stops_the_publication(warehouse, settings, table):
    manifest = make_manifest(warehouse)
    warehouse.execute(f"drop table {table}")

    with pytest.raises(TableNotBuiltError, match=re.escape(table)):
        publish(warehouse, settings, manifest)


def test_empty_tables_are_published_empty(publish_now, warehouse, settings):
    warehouse.execute("delete from journey.touchpoints")
    publish_now()

    assert read(settings, "select count(*) from journey.touchpoints") == [(0,)]


def test_only_part_of_identity_is_published(publish_now, settings):
    publish_now()

    tables = read(settings, "select schema_name, table_name from duckdb_tables()")
    assert [name for schema, name in tables if schema == "identity"] == ["customer_xref"]
    assert "staging" not in dict(tables)


KEY = "00000000-0000-0000-0000-00000000000"


def test_no_published_map_leads_to_who_objects_to_analytics(publish_now, warehouse, settings):
    warehouse.execute(
        f"""
        create or replace table identity.customer_xref as from (values
            (uuid '{KEY}1', 'ann', true, true), ('{KEY}2', 'bob', true, true),
            ('{KEY}2', 'bobs old id', true, false),
            ('{KEY}3', 'objector', true, true), ('{KEY}3', 'objectors old id', true, false),
            ('{KEY}4', 'visitor', false, true), ('{KEY}6', 'visitor who said no', false, true)
        ) as xref (profile_key, customer_id, is_known, is_current);
        create or replace table consent.consent_state as from (values
            ('ann', uuid '{KEY}1', 'marketing', false), ('objector', '{KEY}3', 'marketing', true),
            ('objector', null, 'analytics', false), ('bobs visitor', null, 'analytics', true),
            ('visitor who said no', null, 'analytics', false), ('visitor', null, 'marketing', false)
        ) as states (customer_id, contact_point_key, purpose, is_permitted);
        create view customer_360.customer_profiles as
            select profile_key, customer_id from identity.customer_xref where is_current;
        create or replace table customer_360.customers as from (values
            ('ann', true), ('bob', true), ('objector', false)
        ) as customers (customer_id, is_analytics_permitted);
        """
    )

    publish_now()

    for table, keys in (
        ("customer_360.customer_profiles", [1, 2, 4]),
        ("identity.customer_xref", [1, 2, 2, 4]),
    ):
        found = read(settings, f"select profile_key from {table} order by 1")
        assert [key.int for (key,) in found] == keys
    states = read(settings, "select customer_id, contact_point_key from consent.consent_state")
    assert sorted(states, key=str) == [
        ("ann", UUID(int=1)),
        ("bobs visitor", None),
        ("objector", None),
        ("visitor who said no", None),
        ("visitor", None),
    ]


def test_the_facts_of_who_objects_to_analytics_are_published_without_their_key(
    publish_now, warehouse, settings
):
    warehouse.execute(
        f"""
        create or replace table identity.customer_xref as from (values
            (uuid '{KEY}1', 'ann', true, true), ('{KEY}3', 'objector', true, true),
            ('{KEY}4', 'visitor', false, true), ('{KEY}5', 'not built yet', true, true)
        ) as xref (profile_key, customer_id, is_known, is_current);
        create or replace table customer_360.customers as from (values
            ('ann', true), ('objector', false)
        ) as customers (customer_id, is_analytics_permitted);
        create or replace table journey.orders as from (values
            (1, uuid '{KEY}1', date '2026-01-01'), (2, '{KEY}3', date '2026-01-01'),
            (3, '{KEY}4', date '2026-01-02'), (4, '{KEY}5', date '2026-01-02'), (5, null, null)
        ) as orders (order_id, profile_key, event_date);
        create table journey.contracts as from (values
            ('c1', uuid '{KEY}1', 'serial 1'), ('c3', '{KEY}3', 'serial 3')
        ) as contracts (contract_id, profile_key, device_serial);
        create table journey.device_signals as
            select 'signal of ' || contract_id as device_event_id, * from journey.contracts;
        create table journey.sessions as
            select order_id as session_id, profile_key, event_date,
            event_date + interval 9 hour as started_at, event_date + interval 10 hour as ended_at
            from journey.orders;
        """
    )
    orders = "select order_id, profile_key from journey.orders order by 1"
    publish_now()

    assert read(settings, orders) == [
        (1, UUID(int=1)),
        (2, None),
        (3, UUID(int=4)),
        (4, None),
        (5, None),
    ]
    # Which contract it is may be known by its amount and end; how the device is used may not.
    assert read(settings, "select * from journey.contracts order by 1") == [
        ("c1", UUID(int=1), "serial 1"),
        ("c3", None, None),
    ]
    assert read(settings, "select * from journey.device_signals order by 1") == [
        ("signal of c1", "c1", UUID(int=1), "serial 1"),
        ("signal of c3", None, None, None),
    ]
    # Its moment would be that of an order, or of the objection itself.
    moments = "select session_id, started_at is null, ended_at is null from journey.sessions"
    assert read(settings, f"{moments} where event_date is not null order by 1") == [
        (1, False, False),
        (2, True, True),
        (3, False, False),
        (4, True, True),
    ]

    warehouse.execute(
        "update customer_360.customers set is_analytics_permitted = customer_id = 'objector'"
    )
    assert publish_now().is_new
    assert read(settings, orders) == [
        (1, None),
        (2, UUID(int=3)),
        (3, UUID(int=4)),
        (4, None),
        (5, None),
    ]


def test_a_failed_check_leaves_the_old_version(publish_now, warehouse, settings, monkeypatch):
    publish_now()
    fill_warehouse(warehouse, 2)
    with monkeypatch.context() as refusing:
        refusing.setattr("cx_pipeline.serving.publish.verify_version", _refuse)
        with pytest.raises(RuntimeError, match="refused"):
            publish_now()

    assert read(settings, "select version from publication.version") == [(1,)]
    assert publish_now().is_new
    assert not list(settings.serving_dir.glob(".bi*"))


DAYS = st.one_of(st.none(), st.dates(min_value=date(2026, 1, 1), max_value=date(2026, 1, 9)))


@given(st.lists(st.lists(st.tuples(DAYS, st.integers(0, 3)), max_size=12), min_size=2, max_size=4))
@settings_of_hypothesis(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_readers_get_the_rows_of_the_day_however_much_of_the_last_version_stands(
    warehouse, settings, generations
):
    for rows in generations:
        warehouse.execute(
            "create or replace table journey.orders (event_date date, order_id integer)"
        )
        if rows:
            warehouse.executemany("insert into journey.orders values (?, ?)", rows)
        publish(warehouse, settings, make_manifest(warehouse))

        published = read(settings, "select event_date, order_id from journey.orders")
        assert Counter(published) == Counter(rows)
        assert read(
            settings, "select row_count from publication.manifest where table_name = 'orders'"
        ) == [(len(rows),)]


def orders_of_days(warehouse: Any, days: int, marked: str = "marked-order") -> None:
    warehouse.execute(
        "create or replace table journey.orders as select date '2026-01-01' + range::integer as "
        "event_date, if(range = 3, $1, 'order') as order_id from range($2)",
        [marked, days],
    )


def test_only_the_days_that_changed_are_written(publish_now, warehouse, settings, monkeypatch):
    orders_of_days(warehouse, 20)
    publish_now()
    asked = []
    monkeypatch.setattr(
        "cx_pipeline.serving.version_file._on_days",
        lambda days: asked.append(days) or _on_days(days),
    )
    orders_of_days(warehouse, 21, marked="another-order")
    publish_now()

    assert {frozenset(days) for days in asked} == {frozenset({date(2026, 1, 4), date(2026, 1, 21)})}
    assert read(
        settings,
        "select count(*), count(*) filter (order_id = 'another-order') from journey.orders",
    ) == [(21, 1)]


ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from("ab")), max_size=40)


@given(st.lists(ROWS, min_size=2, max_size=4))
@settings_of_hypothesis(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_readers_get_the_rows_of_a_table_without_days_however_few_differ(
    warehouse, settings, generations
):
    for rows in generations:
        warehouse.execute("create or replace table kpis.states (state_id integer, state varchar)")
        warehouse.execute("insert into kpis.states select 1000 + range, 'c' from range(100)")
        if rows:
            warehouse.executemany("insert into kpis.states values (?, ?)", rows)
        publish(warehouse, settings, make_manifest(warehouse))

        published = read(settings, "select * from kpis.states where state_id < 1000")
        assert Counter(published) == Counter(rows)


def states(warehouse: Any, changed: int) -> None:
    warehouse.execute(
        "create or replace table kpis.states as select range as state_id, "
        "if(range < $1, sha256('new' || range), sha256(range::varchar)) as state "
        "from range(100000)",
        [changed],
    )


@pytest.mark.parametrize(("changed", "is_rewritten"), [(100, False), (50000, True)])
def test_of_a_table_without_days_the_rows_that_differ_are_written(
    publish_now, warehouse, settings, monkeypatch, changed, is_rewritten
):
    states(warehouse, 0)
    publish_now()
    written = []
    monkeypatch.setattr(
        "cx_pipeline.serving.version_file._rewrite",
        lambda con, table: written.append(table.key) or _rewrite(con, table),
    )
    states(warehouse, changed)
    publish_now()

    assert ("kpis.states" in written) == is_rewritten
    assert read(
        settings,
        "select count(*), count(*) filter (state = sha256('new' || state_id)) from kpis.states",
    ) == [(100000, changed)]
    # Nothing stood in the way of the copy, which would have been made good without a word.
    assert read(settings, "select published_at > written_afresh_at from publication.version") == [
        (True,)
    ]


def test_a_personal_value_in_a_row_that_came_later_stops_the_publication(
    publish_now, warehouse, settings
):
    states(warehouse, 0)
    publish_now()
    warehouse.execute("insert into kpis.states values (-1, $1)", [PHONE])

    with pytest.raises(PublicationError, match=r"kpis\.states\.state .* in 1 rows"):
        publish_now()
    assert read(settings, "select version from publication.version") == [(1,)]


@pytest.fixture
def view_over_states(warehouse: Any) -> dict[str, Any]:
    """A manifest in which `kpis.latest_states` is a view over a published table."""
    states(warehouse, 0)
    warehouse.execute(
        "create view kpis.latest_states as with states as (from warehouse.kpis.states) "
        "select state_id, state, 'warehouse.kpis' as origin from states where state_id > 99989"
    )
    manifest = make_manifest(warehouse)
    for unique_id, node in manifest["nodes"].items():
        node["unique_id"] = unique_id
    manifest["nodes"]["model.cx_pipeline.latest_states"] |= {
        "config": {"materialized": "view"},
        "depends_on": {"nodes": ["model.cx_pipeline.states"]},
    }
    return manifest


def test_a_view_over_published_tables_stays_a_view_with_its_comments(
    warehouse, settings, view_over_states
):
    publish(warehouse, settings, view_over_states)
    warehouse.execute("update kpis.states set state = 'new' where state_id = 99999")
    publish(warehouse, settings, view_over_states)

    assert read(
        settings,
        "select view_name, comment from duckdb_views() where not internal",
    ) == [("latest_states", "One row per test of latest_states; it's quoted.")]
    assert read(
        settings,
        "select column_name, comment from duckdb_columns() where table_name = 'latest_states'",
    ) == [(name, f"The {name}'s value.") for name in ("state_id", "state", "origin")]
    assert read(
        settings,
        "select count(*), count(*) filter (state = 'new'), any_value(origin) "
        "from kpis.latest_states",
    ) == [(10, 1, "warehouse.kpis")]
    assert read(settings, "select published_at > written_afresh_at from publication.version") == [
        (True,)
    ]


def test_a_view_over_a_table_that_keeps_columns_at_home_is_written_out(
    warehouse, settings, view_over_states
):
    column = view_over_states["nodes"]["model.cx_pipeline.states"]["columns"]["state"]
    column["config"]["meta"]["data_category"] = "user.content"
    publish(warehouse, settings, view_over_states)

    assert read(settings, "select count(*) from duckdb_views() where not internal") == [(0,)]
    assert read(settings, "select count(*) from kpis.latest_states") == [(10,)]


def test_a_view_becomes_a_table_and_a_table_a_view(warehouse, settings, view_over_states):
    latest = view_over_states["nodes"]["model.cx_pipeline.latest_states"]
    for materialized in ("view", "table", "view"):
        latest["config"]["materialized"] = materialized
        publish(warehouse, settings, view_over_states)

        found = read(settings, "select count(*) from duckdb_views() where not internal")
        assert found == [(int(materialized == "view"),)]
        assert read(settings, "select count(*) from kpis.latest_states") == [(10,)]


def test_a_table_that_is_not_built_any_more_leaves_the_file(warehouse, settings):
    orders_of_days(warehouse, 3)
    publish(warehouse, settings, make_manifest(warehouse))
    warehouse.execute("drop table journey.orders")
    publish(warehouse, settings, make_manifest(warehouse))

    tables = read(settings, "select table_name from duckdb_tables() where schema_name = 'journey'")
    assert ("orders",) not in tables


def test_after_a_week_nothing_of_a_deleted_row_is_left_in_the_bytes(
    publish_now, warehouse, settings, monkeypatch
):
    orders_of_days(warehouse, 20)
    publish_now()
    orders_of_days(warehouse, 20, marked="another-order")
    publish_now()
    copied = (settings.serving_dir / "bi-2.duckdb").read_bytes()
    monkeypatch.setattr("cx_pipeline.serving.publish.WRITTEN_AFRESH_AFTER", timedelta(0))
    # Though nothing is new.
    publish_now()

    # The copy shows that the search would find it.
    assert b"marked-order" in copied
    assert b"marked-order" not in (settings.serving_dir / "bi-3.duckdb").read_bytes()
    assert read(settings, "select published_at = written_afresh_at from publication.version") == [
        (True,)
    ]


def test_a_version_damaged_inside_is_not_copied(publish_now, warehouse, settings):
    orders_of_days(warehouse, 20)
    warehouse.execute(
        "create table journey.deliveries as select sha256(range::varchar) as delivery_id "
        "from range(100000)"
    )
    publish_now()
    damage_inside(settings.serving_dir / "bi-1.duckdb")
    orders_of_days(warehouse, 21)

    assert publish_now().version == 2
    assert read(settings, "select count(distinct delivery_id) from journey.deliveries") == [
        (100000,)
    ]


def _refuse(*_: object) -> None:
    raise RuntimeError("refused")

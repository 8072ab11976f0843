import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.segments.memberships import compute, read_catalogue, read_segments
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.config_files import ConfigError
from tests.segments.segment_house import open_house, segment

DANES = {"column": "country", "is": "DK"}


@pytest.fixture
def house():
    return open_house()


def on(con, day):
    con.execute("update journey.as_of set as_of_date = $1::date", [day])


def history(con):
    return con.execute(
        "select customer_id, entered_date::varchar, left_date::varchar, is_current "
        "from segments.memberships order by all"
    ).fetchall()


def test_the_first_run_lets_everybody_in_on_the_last_day_of_data(house):
    changes = compute(house, [segment(DANES, name="danes")])

    assert history(house) == [
        ("ann", "2026-11-20", None, True),
        ("dea", "2026-11-20", None, True),
    ]
    assert (changes.entered_count, changes.left_count) == (2, 0)
    assert changes.member_counts == {"danes": 2}


def test_the_same_input_again_changes_nothing(house):
    compute(house, [segment(DANES)])
    before = history(house)
    changes = compute(house, [segment(DANES)])

    assert history(house) == before
    assert (changes.entered_count, changes.left_count) == (0, 0)


def test_a_new_day_alone_changes_nothing(house):
    compute(house, [segment(DANES)])
    before = history(house)
    on(house, "2026-11-21")
    compute(house, [segment(DANES)])

    assert history(house) == before


def test_who_leaves_and_comes_back_has_two_stays(house):
    compute(house, [segment(DANES)])
    on(house, "2026-11-25")
    house.execute("update customer_360.customers set country = 'SE' where customer_id = 'ann'")
    compute(house, [segment(DANES)])
    on(house, "2026-11-30")
    house.execute("update customer_360.customers set country = 'DK' where customer_id = 'ann'")
    compute(house, [segment(DANES)])

    assert [row for row in history(house) if row[0] == "ann"] == [
        ("ann", "2026-11-20", "2026-11-25", False),
        ("ann", "2026-11-30", None, True),
    ]


def move(con, customer, country):
    con.execute(
        "update customer_360.customers set country = $1 where customer_id = $2", [country, customer]
    )


def test_who_comes_back_on_the_day_of_leaving_never_left(house):
    compute(house, [segment(DANES)])
    before = history(house)
    on(house, "2026-11-25")
    for country in ("SE", "DK"):
        move(house, "ann", country)
        compute(house, [segment(DANES)])

    assert history(house) == before


def test_who_leaves_on_the_day_of_entering_stays_on_file(house):
    marketing = segment(DANES, purpose="marketing")
    compute(house, [marketing])
    house.execute("update consent.permissions set is_permitted = false where customer_id = 'ann'")
    changes = compute(house, [marketing])

    assert ("ann", "2026-11-20", "2026-11-20", False) in history(house)
    assert changes.left_count == 1


@pytest.mark.parametrize("day", ["2026-11-10", "2026-11-27"])
def test_a_last_day_that_moves_back_makes_no_stay_overlap_another(house, day):
    compute(house, [segment(DANES)])
    on(house, "2026-11-30")
    move(house, "ann", "SE")
    move(house, "bob", "DK")
    compute(house, [segment(DANES)])
    on(house, day)
    move(house, "ann", "DK")
    move(house, "bob", "SE")
    compute(house, [segment(DANES)])

    assert history(house) == [
        ("ann", "2026-11-20", None, True),
        ("bob", "2026-11-30", "2026-11-30", False),
        ("dea", "2026-11-20", None, True),
    ]


DAYS = st.integers(10, 20).map(lambda day: f"2026-11-{day}")
STEPS = st.tuples(
    DAYS, st.sets(st.sampled_from(["ann", "bob"])), st.sampled_from(["analytics", "marketing"])
)


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(STEPS, min_size=2, max_size=8))
def test_whatever_the_days_no_stay_is_lost_and_none_overlap(steps):
    con = open_house()
    con.execute("delete from customer_360.customers where customer_id not in ('ann', 'bob')")
    con.execute("update consent.permissions set is_permitted = true")
    stays = "select customer_id, purpose, entered_date from segments.memberships"
    seen = set()
    for day, danes, purpose in steps:
        on(con, day)
        for customer in ("ann", "bob"):
            move(con, customer, "DK" if customer in danes else "SE")
        compute(con, [segment(DANES, purpose=purpose)])
        found = con.execute(stays).fetchall()
        assert len(found) == len(set(found))
        assert seen <= set(found)
        seen = set(found)
        current = con.execute(f"{stays} where is_current and left_date is null").fetchall()
        assert {row[:2] for row in current} == {(customer, purpose) for customer in danes}
        assert con.execute(
            "select count(*) from segments.memberships as one, segments.memberships as other "
            "where one.rowid < other.rowid and one.customer_id = other.customer_id "
            "and greatest(one.entered_date, other.entered_date) < "
            "least(coalesce(one.left_date, '2099-01-01'), coalesce(other.left_date, '2099-01-01'))"
        ).fetchall() == [(0,)]
    con.close()


def test_a_customer_who_was_merged_away_leaves(house):
    compute(house, [segment(DANES)])
    on(house, "2026-11-21")
    house.execute("delete from customer_360.customers where customer_id = 'dea'")
    compute(house, [segment(DANES)])

    assert ("dea", "2026-11-20", "2026-11-21", False) in history(house)


def test_a_withdrawn_consent_takes_the_customer_out(house):
    marketing = segment(DANES, purpose="marketing")
    compute(house, [marketing])
    on(house, "2026-11-21")
    house.execute("update consent.permissions set is_permitted = false where customer_id = 'ann'")
    compute(house, [marketing])

    assert ("ann", "2026-11-20", "2026-11-21", False) in history(house)


def test_a_segment_that_is_not_declared_any_more_is_left_by_all(house):
    compute(house, [segment(DANES, name="danes"), segment(DANES, name="others")])
    on(house, "2026-11-21")
    compute(house, [segment(DANES, name="others")])

    assert house.execute(
        "select segment, count(*) filter (is_current), count(*) from segments.memberships "
        "group by all order by all"
    ).fetchall() == [("danes", 0, 2), ("others", 2, 2)]
    assert house.execute("select segment, member_count from segments.definitions").fetchall() == [
        ("others", 2)
    ]


def test_a_new_purpose_begins_a_new_stay(house):
    compute(house, [segment(DANES)])
    on(house, "2026-11-21")
    compute(house, [segment(DANES, purpose="marketing")])

    assert house.execute(
        "select purpose, count(*) filter (is_current) from segments.memberships "
        "group by all order by all"
    ).fetchall() == [("analytics", 0), ("marketing", 2)]


def test_a_failure_leaves_the_memberships_as_they_were(house):
    compute(house, [segment(DANES)])
    before = history(house)
    house.execute("update customer_360.customers set country = 'DK'")
    house.execute("drop table experience.cases")
    with pytest.raises(Exception, match="cases"):
        compute(house, [segment(DANES), segment({"case": {"is_open": True}}, name="broken")])

    assert history(house) == before


def test_no_customers_make_empty_segments(house):
    house.execute("delete from customer_360.customers; delete from journey.as_of")
    changes = compute(house, [segment(DANES, name="danes")])

    assert changes.member_counts == {"danes": 0}
    assert house.execute("select member_count from segments.definitions").fetchall() == [(0,)]


def test_the_segments_of_the_project_can_be_read():
    declared = {segment.name: segment for segment in read_segments(load_settings())}

    assert {"champions", "never_bought", "open_case", "reachable_by_email"} <= set(declared)
    assert {"days_since_last_order", "order_count", "order_amount"} <= set(
        read_catalogue(load_settings()).columns
    )


def test_two_segments_of_one_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = """\
segments:
  - name: twice
    title: Twice
    description: Twice.
    owner: us
    purpose: service
    condition: {column: order_count, at_least: 1}
"""
    folder = tmp_path / "segments"
    folder.mkdir()
    (folder / "a.yml").write_text(text)
    (folder / "b.yml").write_text(text)

    with pytest.raises(ConfigError, match=r"b\.yml line 2: .*declared in segments/a\.yml already"):
        read_segments(load_settings(config_dir=tmp_path))

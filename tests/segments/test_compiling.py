import duckdb
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from cx_pipeline.segments.compiling import RFM_SCORES, compile_scores, compile_segment
from tests.consent.consent_house import rendered_permitted
from tests.segments.segment_house import CATALOGUE, open_house, segment


@pytest.fixture(scope="module")
def house():
    return open_house()


def members(con, condition, **other):
    query = compile_segment(segment(condition, **other))
    if query.reads_scores:
        con.execute(f"create or replace temp table {RFM_SCORES} as {compile_scores()}")
    return {row[0] for row in con.execute(query.sql, query.parameters).fetchall()}


# Eve objected to analytics, so she is in no segment below.
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"column": "country", "is": "DK"}, {"ann", "dea"}),
        ({"column": "country", "is_not": "DK"}, {"bob", "cai"}),
        ({"column": "country", "in": ["DK", "NO"]}, {"ann", "bob", "dea"}),
        ({"column": "country", "not_in": ["DK", "NO"]}, {"cai"}),
        ({"column": "country", "is_known": False}, {"cai"}),
        ({"column": "country", "is_known": True}, {"ann", "bob", "dea"}),
        ({"column": "is_club_member", "is": False}, {"bob"}),
        ({"none": [{"column": "is_club_member", "is": True}]}, {"bob", "cai"}),
        ({"column": "order_count", "between": [1, 3]}, {"bob", "dea"}),
        ({"column": "order_amount", "more_than": 40}, {"ann", "dea"}),
        ({"column": "order_amount", "less_than": 40.5}, {"bob", "cai"}),
        ({"column": "days_since_last_order", "at_least": 100}, {"bob", "dea"}),
        ({"column": "days_since_last_order", "at_most": 100}, {"ann", "dea"}),
        ({"column": "last_order_date", "within_days": 11}, {"ann"}),
        ({"column": "last_order_date", "within_days": 10}, set()),
        ({"column": "channels", "contains": "store"}, {"ann", "dea"}),
        ({"touchpoint": {"event_name": "product_viewed"}}, {"ann", "bob"}),
        ({"touchpoint": {"event_name": "product_viewed", "within_days": 30}}, {"ann"}),
        ({"touchpoint": {"event_name": "product_viewed", "within_days": 31}}, {"ann", "bob"}),
        ({"touchpoint": {"event_name": ["product_viewed", "x"], "at_least": 2}}, {"ann"}),
        ({"touchpoint": {"type": "web", "at_most": 1}}, {"bob", "cai", "dea"}),
        ({"touchpoint": {"at_most": 0}}, {"cai"}),
        ({"touchpoint": {"at_least": 1, "at_most": 1}}, {"bob", "dea"}),
        ({"none": [{"touchpoint": {"type": "case"}}]}, {"ann", "bob", "cai"}),
        ({"order": {"channel": "web"}}, set()),
        ({"case": {"is_open": True, "at_most": 0}}, {"ann", "bob", "cai", "dea"}),
        ({"feedback": {"nps_group": "detractor"}}, {"dea"}),
        ({"feedback": {"score": 5}}, {"bob"}),
        ({"feedback": {"metric": "rating", "score": [1, 1.5, 2]}}, {"ann"}),
        (
            {"any": [{"column": "order_count", "is": 0}, {"column": "order_count", "is": 8}]},
            {"ann", "cai"},
        ),
        (
            {
                "all": [
                    {"column": "country", "is": "DK"},
                    {"none": [{"touchpoint": {"type": "case"}}]},
                ]
            },
            {"ann"},
        ),
    ],
)
def test_a_condition_finds_exactly_its_customers(house, condition, expected):
    assert members(house, condition) == expected


def test_what_was_watched_chooses_nobody_who_objects_to_analytics():
    con = open_house()
    con.execute("update consent.permissions set is_permitted = true where purpose = 'marketing'")
    con.execute("insert into consent.permissions values ('eve', 'marketing', 'sms', true)")
    con.execute("update journey.touchpoints set profile_key = 'eve-mail' where profile_key is null")
    marketing = {"purpose": "marketing"}
    watched = {"touchpoint": {"event_name": "product_viewed"}}

    assert members(con, {"column": "country", "is": "SE"}, **marketing) == {"eve"}
    assert members(con, watched, **marketing) == {"ann", "bob"}
    assert "eve" not in members(con, {"touchpoint": {"at_most": 0}}, **marketing)
    assert "eve" not in members(con, {"none": [watched]}, **marketing)


def test_what_is_paid_back_over_the_till_is_no_order():
    con = open_house()
    con.execute(
        "insert into journey.orders values ('ann-mail', '2026-11-19', 'web', false, false, false), "
        "('bob-mail', '2026-11-19', 'store', false, true, false), "
        "('dea-mail', '2026-11-19', 'web', false, false, true)"
    )

    assert members(con, {"order": {"within_days": 7}}) == {"ann", "dea"}
    assert members(con, {"order": {"within_days": 7, "is_cancelled": False}}) == {"ann"}
    assert members(con, {"order": {"is_refund": True}}) == {"bob"}
    assert members(con, {"none": [{"order": {}}]}) == {"bob", "cai"}


def test_a_day_after_the_last_of_data_is_upcoming_and_not_recent():
    con = open_house()
    con.execute("update customer_360.customers set last_order_date = '2026-11-25'")
    days = {"column": "last_order_date"}
    everybody = {"ann", "bob", "cai", "dea"}
    assert members(con, {**days, "within_days": 300}) == set()
    assert members(con, {**days, "within_next_days": 5}) == everybody
    assert members(con, {**days, "within_next_days": 4}) == set()
    con.execute("update customer_360.customers set last_order_date = '2026-11-20'")
    assert members(con, {**days, "within_days": 1}) == everybody
    assert members(con, {**days, "within_next_days": 5}) == set()
    con.execute("update journey.touchpoints set event_date = '2027-01-01'")
    assert members(con, {"touchpoint": {"within_days": 365}}) == set()


@pytest.mark.parametrize(
    ("score", "column"),
    [
        ("recency", "days_since_last_order"),
        ("monetary", "order_amount"),
    ],
)
def test_a_buyer_without_a_value_scores_worst(score, column):
    con = open_house()
    con.execute(f"update customer_360.customers set {column} = null where customer_id = 'ann'")
    assert "ann" in members(con, {"rfm": {score: [1]}})


def test_scores_are_fifths_of_the_buyers_and_equal_values_score_equal(house):
    assert members(house, {"rfm": {"recency": [5]}}) == set()
    # Four buyers: eve 300 days, bob 200, dea 100, ann 10; 0, 1, 2 and 3 of 4 are worse.
    assert members(house, {"rfm": {"recency": [4]}}) == {"ann"}
    assert members(house, {"rfm": {"recency": [3]}}) == {"dea"}
    assert members(house, {"rfm": {"frequency": [1], "monetary": [1]}}) == {"bob"}
    assert "cai" not in members(house, {"rfm": {"frequency": [1, 2, 3, 4, 5]}})


EVERYBODY = {"column": "order_count", "at_least": 0}


def test_an_objection_keeps_a_customer_out_of_a_segment_that_needs_no_consent(house):
    assert members(house, EVERYBODY) == {"ann", "bob", "cai", "dea"}


def test_marketing_needs_a_yes_and_nothing_known_is_a_no(house):
    assert members(house, EVERYBODY, purpose="marketing") == {"ann", "dea"}


def test_a_segment_for_a_channel_needs_the_yes_for_that_channel(house):
    assert members(house, EVERYBODY, purpose="marketing", channel="email") == {"ann"}
    assert members(house, EVERYBODY, purpose="marketing", channel="sms") == {"dea"}


@pytest.mark.parametrize(
    ("purpose", "channel"),
    [
        (purpose, channel)
        for purpose, channels in CATALOGUE.channels.items()
        for channel in (None, *channels)
    ],
)
def test_a_segment_asks_for_permission_as_the_models_do(house, purpose, channel):
    asked = rendered_permitted(purpose, channel)
    permitted = house.execute(
        f"select customer_id from customer_360.customers where {asked}"
    ).fetchall()
    found = members(house, EVERYBODY, purpose=purpose, channel=channel)
    assert found == {customer for (customer,) in permitted}


def test_an_objection_on_one_channel_leaves_the_others(house):
    assert members(house, EVERYBODY, channel="web") == {"ann", "bob", "cai", "dea"}
    assert members(house, EVERYBODY, channel="store") == {"ann", "cai", "dea"}


def test_where_nothing_is_known_of_a_purpose_nobody_is_in():
    con = open_house()
    con.execute("delete from consent.permissions")
    assert members(con, EVERYBODY, purpose="marketing") == set()
    con.execute("delete from consent.purposes")

    assert members(con, EVERYBODY) == set()


HOSTILE = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "'; drop table customer_360.customers; --",
            "' or '1'='1",
            '" or 1=1 --',
            "$p0",
            "DK' union select customer_id from customer_360.customers --",
            "\\'; delete from consent.permissions; --",
            "{{ 1 }}",
            "%s",
            "?",
            "/* */",
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(value=HOSTILE, others=st.lists(HOSTILE, min_size=1, max_size=3))
def test_no_value_changes_what_is_asked(house, value, others):
    condition = {
        "any": [
            {"column": "country", "is": value},
            {"column": "country", "in": others},
            {"touchpoint": {"event_name": others, "channel": value}},
            {"column": "channels", "contains": value},
        ]
    }
    query = compile_segment(segment(condition))
    plain = compile_segment(
        segment(
            {
                "any": [
                    {"column": "country", "is": "x"},
                    {"column": "country", "in": ["x"] * len(others)},
                    {"touchpoint": {"event_name": ["x"] * len(others), "channel": "x"}},
                    {"column": "channels", "contains": "x"},
                ]
            }
        )
    )

    assert query.sql == plain.sql
    found = {row[0] for row in house.execute(query.sql, query.parameters).fetchall()}
    assert found <= {"ann", "bob", "cai", "dea"}
    assert value in query.parameters.values()
    assert house.execute("select count(*) from customer_360.customers").fetchall() == [(5,)]


@settings(max_examples=50, deadline=None)
@given(name=HOSTILE)
def test_no_column_is_taken_from_a_file_unless_the_contract_names_it(name):
    with pytest.raises(ValueError, match="no column"):
        segment({"column": name, "is_known": True})


def test_the_query_is_one_select():
    query = compile_segment(segment({"column": "country", "is": "x"}, purpose="marketing"))

    (statement,) = sqlglot.parse(query.sql, dialect="duckdb")
    assert statement.key == "select"
    assert duckdb.extract_statements(query.sql)[0].type == duckdb.StatementType.SELECT

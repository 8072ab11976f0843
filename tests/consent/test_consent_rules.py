import datetime as dt
from dataclasses import replace

import pytest

from tests.consent.consent_house import (
    AS_OF,
    NOON,
    ConsentHouse,
    Statement,
    rendered_call,
    rendered_permitted,
)

HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
ANN = {"ann": ["crm_id:1", "email:ann@x.dk", "email:ann@work.dk", "phone:+4520000001"]}


def by_email(statement_id: str, status: str, at: dt.datetime = AS_OF, **more: object) -> Statement:
    moment = dt.datetime.combine(at, dt.time(12)) if type(at) is dt.date else at
    return Statement(
        statement_id,
        crm_id="1",
        email="ann@x.dk",
        channel="email",
        status=status,
        captured_at=moment,
        **more,
    )


def test_nothing_known_means_no(house: ConsentHouse):
    house.knows(**ANN)
    house.run()
    assert house.state() == {}
    assert not house.may("ann", "marketing", "email")
    assert not house.may("nobody", "service", "email")


def test_only_what_somebody_spoke_of_has_a_state(house):
    house.knows(**ANN)
    house.say(by_email("s1", "granted"), Statement("s2", crm_id="1", channel="sms"))
    house.run()
    assert {place[1:] for place in house.state()} == {
        ("marketing", "email", "email:ann@x.dk"),
        ("marketing", "sms", None),
    }


def test_what_needs_no_consent_is_permitted_until_the_customer_objects(house):
    house.knows(**ANN)
    house.run()
    assert house.may("ann", "analytics", "web")
    house.say(Statement("s1", crm_id="1", purpose="analytics", status="withdrawn"))
    house.run()
    assert not house.may("ann", "analytics", "web")
    assert house.may("ann", "service", "email")


def test_who_says_no_in_a_cookie_banner_is_not_watched_in_the_store_instead(house):
    watched = rendered_call('permitted_and_nowhere_refused("analytics")')
    house.knows(**ANN, bea=["crm_id:2"])
    house.say(Statement("s1", crm_id="1", purpose="analytics", channel="web", status="denied"))
    house.run()
    assert house.may("ann", "analytics", "store")
    people = "(values ('ann'), ('bea'), ('nobody')) as people (customer_id)"
    answers = dict(house.query(f"select customer_id, {watched} from {people}"))
    assert answers == {"ann": False, "bea": True, "nobody": False}


def test_the_latest_statement_wins_whatever_the_order_of_arrival(house):
    house.knows(**ANN)
    house.say(by_email("s1", "withdrawn", AS_OF), by_email("s2", "granted", AS_OF - DAY, load_id=2))
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("withdrawn", False)


def test_a_grant_and_a_refusal_at_one_instant_are_a_conflict_and_a_conflict_is_a_no(house):
    house.knows(**ANN)
    house.say(by_email("s1", "granted"), by_email("s2", "denied"))
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("conflict", False)
    assert not house.may("ann", "marketing", "email")


def test_pending_double_opt_in_is_not_permitted_until_confirmed(house):
    house.knows(**ANN)
    house.say(by_email("s1", "pending", AS_OF - DAY))
    house.run()
    assert not house.may("ann", "marketing", "email")
    house.say(by_email("s2", "granted", load_id=2))
    house.run()
    assert house.may("ann", "marketing", "email")


def test_a_word_that_we_do_not_know_is_not_a_yes(house):
    house.knows(**ANN)
    house.say(by_email("s1", "opted-in"))
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("pending", False)


def test_a_word_that_we_do_not_know_ends_what_needs_no_consent_for_it_may_be_an_objection(house):
    house.knows(**ANN)
    house.say(Statement("s1", crm_id="1", purpose="analytics", status="never again"))
    house.run()
    assert house.state()["ann", "analytics", "web", None] == ("pending", False)
    assert not house.may("ann", "analytics", "web")


def test_a_refusal_on_a_channel_that_its_purpose_does_not_have_covers_all_its_channels(house):
    house.knows(**ANN)
    house.say(
        *(
            Statement(f"g{channel}", crm_id="1", email="ann@x.dk", channel=channel, captured_at=day)
            for channel in ("email", "post")
            for day in [dt.datetime.combine(AS_OF - DAY, dt.time())]
        ),
        Statement(
            "s1",
            crm_id="1",
            channel="e-mail",
            status="withdrawn",
            captured_at=dt.datetime.combine(AS_OF, dt.time()),
        ),
    )
    house.run()
    assert not house.may("ann", "marketing", "email")
    assert not house.may("ann", "marketing", "post")


def test_a_refusal_of_a_purpose_that_nobody_declared_is_found_until_it_is_mapped(house):
    test = "assert_every_refused_purpose_is_declared"
    house.knows(**ANN)
    house.say(by_email("s1", "granted"), by_email("s2", "withdrawn", purpose="newsletter"))
    house.run()
    ((problem,),) = house.failures(test)
    assert problem.startswith('test: purpose "newsletter" is refused (statements: 1) and not named')
    house.say(by_email("s2", "withdrawn"))
    house.run(full_refresh=True)
    assert house.failures(test) == []
    assert not house.may("ann", "marketing", "email")


def test_a_refusal_that_names_nobody_is_found_until_it_names_somebody(house):
    test = "assert_every_refusal_names_somebody"
    house.knows(**ANN)
    house.say(by_email("s1", "granted"), Statement("s2", status="withdrawn"), Statement("s3"))
    house.run()
    ((problem,),) = house.failures(test)
    assert problem.startswith("test: 1 refusals name nobody, such as consent_event_id s2")
    house.say(replace(by_email("s2", "withdrawn"), load_id=2))
    house.run()
    assert house.failures(test) == []
    assert not house.may("ann", "marketing", "email")


def test_a_refusal_that_names_nobody_is_left_out_where_it_binds_nobody(house):
    test = "assert_every_refusal_names_somebody"
    house.say(Statement("s2", status="withdrawn"), Statement("s3", status="denied"))
    house.run()
    ((problem,),) = house.failures(test)
    assert "2 refusals" in problem
    # `where:` of the entity no longer reads it; the log keeps it.
    del house.versions["test", "s2", 1]
    house.run(full_refresh=True)
    ((problem,),) = house.failures(test)
    assert "1 refusals name nobody, such as consent_event_id s3" in problem
    assert len(house.log()) == 2


def test_a_refusal_outlives_the_key_that_it_was_logged_under(house):
    test = "assert_every_refusal_finds_its_customer"
    ann, objection = ["crm_id:test", "email:ann@x.dk"], {"purpose": "analytics", "channel": "web"}
    house.knows(ann=ann)
    said = Statement("s1", crm_id="test", email="ann@x.dk", status="withdrawn", **objection)
    house.say(said)
    house.run()
    assert not house.may("ann", "analytics", "web")
    # The number is blocked: it leaves the map, and staging knows the statement by its e-mail.
    house.customer_of.pop("crm_id:test")
    house.say(replace(said, crm_id=None))
    house.run()
    assert len(house.failures(test)) == 1
    for _ in range(2):
        house.run(full_refresh=True)
        assert house.failures(test) == []
        assert not house.may("ann", "analytics", "web")
        assert len(house.log()) == 2


def test_a_grant_runs_out_at_its_own_time_else_after_the_days_of_its_purpose(house):
    house.knows(**ANN)
    house.say(by_email("s1", "granted", AS_OF - 20 * DAY))
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("expired", False)
    own_end = dt.datetime.combine(AS_OF + DAY, dt.time())
    house.say(by_email("s1", "granted", AS_OF - 20 * DAY, expires_at=own_end, load_id=2))
    house.run()
    assert house.may("ann", "marketing", "email")


def test_a_refusal_does_not_run_out(house):
    house.knows(**ANN)
    house.say(by_email("s1", "denied", AS_OF - 900 * DAY, expires_at=NOON - 400 * DAY))
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("denied", False)


def test_a_grant_from_the_future_does_not_count_yet(house):
    house.knows(**ANN)
    house.say(by_email("s1", "granted", AS_OF + 3 * DAY))
    house.run()
    assert not house.may("ann", "marketing", "email")


def test_an_unsubscribe_click_withdraws_marketing_for_that_address_only(house):
    house.knows(**ANN)
    house.say(
        Statement("s1", crm_id="1", captured_at=dt.datetime.combine(AS_OF - DAY, dt.time())),
    )
    house.unsubscribe(
        Statement("m1", email="ann@x.dk", channel="email", captured_at=NOON + 30 * DAY)
    )
    house.run()
    state = house.state()
    assert state["ann", "marketing", "email", "email:ann@x.dk"] == ("withdrawn", False)
    assert state["ann", "marketing", "email", None] == ("granted", True)
    assert house.may("ann", "marketing", "email"), "the other address is still under the grant"
    assert house.may("ann", "marketing", "sms")
    house.customer_of.pop("email:ann@work.dk")
    house.run()
    assert not house.may("ann", "marketing", "email")


def test_a_later_word_on_everything_covers_the_address_that_had_its_own(house):
    house.knows(**ANN)
    house.say(
        by_email("s1", "withdrawn", AS_OF - 2 * DAY),
        Statement("s2", crm_id="1", captured_at=dt.datetime.combine(AS_OF - DAY, dt.time())),
    )
    house.run()
    assert house.state()["ann", "marketing", "email", "email:ann@x.dk"] == ("granted", True)


def test_a_statement_without_a_channel_covers_every_channel_of_its_purpose(house):
    house.knows(**ANN)
    house.say(Statement("s1", crm_id="1", captured_at=dt.datetime.combine(AS_OF, dt.time())))
    house.run()
    permitted = {key for key, is_permitted in house.permissions().items() if is_permitted}
    assert {("ann", "marketing", c) for c in ("email", "sms", "post")} <= permitted
    assert ("ann", "surveys", "email") not in permitted


def test_after_a_merge_the_statements_of_both_are_weighed_and_after_a_split_each_has_its_own(house):
    morning = dt.datetime.combine(AS_OF, dt.time(8))
    house.knows(ann=["crm_id:1"], bea=["crm_id:2"])
    house.say(
        Statement("s1", crm_id="1", channel="post", captured_at=morning),
        Statement("s2", crm_id="2", channel="post", status="denied", captured_at=morning + HOUR),
    )
    house.run()
    assert house.may("ann", "marketing", "post")
    assert not house.may("bea", "marketing", "post")
    house.knows(ann=["crm_id:1", "crm_id:2"])
    house.run()
    assert house.state()["ann", "marketing", "post", None] == ("denied", False)
    house.say(Statement("s3", crm_id="1", channel="post", captured_at=morning + HOUR, load_id=2))
    house.run()
    assert house.state()["ann", "marketing", "post", None] == ("conflict", False)
    house.knows(bea=["crm_id:2"])
    house.run()
    assert house.may("ann", "marketing", "post")
    assert not house.may("bea", "marketing", "post")


def test_a_refusal_binds_the_address_whoever_shares_it_and_a_grant_only_the_giver(house):
    house.knows(ann=["crm_id:1"], bea=["crm_id:2"], office=["email:desk@x.dk"])
    desk = {"email": "desk@x.dk", "channel": "email"}
    house.say(
        Statement("s1", crm_id="1", captured_at=NOON + 25 * DAY, **desk),
        Statement("s2", crm_id="2", captured_at=NOON + 25 * DAY, **desk),
    )
    house.run()
    assert house.may("ann", "marketing", "email")
    assert house.may("bea", "marketing", "email")
    house.unsubscribe(Statement("m1", captured_at=NOON + 26 * DAY, **desk))
    house.run()
    assert not house.may("ann", "marketing", "email")
    assert not house.may("bea", "marketing", "email")
    house.say(Statement("s3", crm_id="2", captured_at=NOON + 27 * DAY, load_id=2, **desk))
    house.run()
    assert not house.may("ann", "marketing", "email")
    assert house.may("bea", "marketing", "email")


def test_the_log_takes_a_repetition_once_and_a_correction_as_a_further_row(house):
    house.knows(**ANN)
    first = by_email("s1", "granted")
    house.say(first)
    house.run()
    logged = house.log()
    house.run()
    house.say(replace(first, load_id=2))
    house.run()
    assert house.log() == logged
    house.say(replace(first, status="denied", load_id=3))
    house.run()
    assert len(house.log()) == 2
    assert logged < house.log()
    assert not house.may("ann", "marketing", "email")
    house.say(replace(first, load_id=4))
    house.run()
    assert len(house.log()) == 3
    assert house.may("ann", "marketing", "email")


def test_the_log_has_every_version_though_several_loads_came_before_it_was_written(house):
    house.knows(**ANN)
    granted, denied = by_email("s1", "granted"), by_email("s1", "denied")
    house.say(granted, replace(denied, load_id=2), replace(denied, load_id=3))
    house.run()
    in_order = "select status, _load_id from consent.consent_log order by revision"
    assert house.query(in_order) == [("granted", 1), ("denied", 2)]
    house.say(replace(granted, load_id=4), replace(denied, load_id=5), replace(granted, load_id=6))
    house.run()
    assert house.query(in_order)[2:] == [("granted", 4), ("denied", 5), ("granted", 6)]
    assert house.may("ann", "marketing", "email")
    logged = house.log()
    house.run(full_refresh=True)
    assert house.log() == logged
    house.query("delete from consent.consent_log")
    house.run(full_refresh=True)
    assert house.log() == logged


@pytest.mark.parametrize("channel", [None, "e-mail"])
def test_a_refusal_of_everything_binds_no_fewer_than_one_of_a_single_channel(house, channel):
    house.knows(ann=["crm_id:1"], bea=["crm_id:2"], office=["email:desk@x.dk"])
    desk = {"email": "desk@x.dk", "channel": "email"}
    house.say(
        Statement("s1", crm_id="1", captured_at=NOON + 25 * DAY, **desk),
        Statement("s2", crm_id="2", captured_at=NOON + 25 * DAY, **desk),
        Statement("s3", crm_id="2", channel="sms", captured_at=NOON + 25 * DAY),
    )
    house.run()
    house.run()
    stop = Statement("s4", email="desk@x.dk", channel=channel, status="withdrawn", load_id=2)
    house.say(replace(stop, captured_at=NOON + 26 * DAY))
    house.run()
    assert house.judged() == {"ann", "bea", "office"}
    assert not house.may("ann", "marketing", "email")
    assert not house.may("bea", "marketing", "email")
    assert house.may("bea", "marketing", "sms"), "the mailbox is not her telephone"


def test_a_refusal_binds_whoever_shares_the_address_though_the_log_is_older_than_its_columns(house):
    house.knows(ann=["crm_id:1"], office=["email:desk@x.dk"])
    desk = {"email": "desk@x.dk", "channel": "email"}
    house.say(Statement("s1", crm_id="1", captured_at=NOON + 25 * DAY, **desk))
    house.unsubscribe(Statement("m1", captured_at=NOON + 26 * DAY, **desk))
    house.run()
    house.query(
        "update consent.consent_log "
        "set email_contact_point_key = null, phone_contact_point_key = null"
    )
    house.built.clear()
    house.run()
    assert not house.may("ann", "marketing", "email")


def test_a_refusal_under_another_number_binds_whose_address_it_bears(house):
    house.knows(ann=["crm_id:1", "email:ann@x.dk"], double=["crm_id:9"])
    house.say(by_email("s1", "granted", NOON + 25 * DAY))
    stop = Statement("s2", crm_id="9", email="ann@x.dk", status="withdrawn", load_id=2)
    house.say(replace(stop, captured_at=NOON + 26 * DAY))
    house.run()
    assert not house.may("ann", "marketing", "email")


def test_two_sources_may_give_their_statements_the_same_id(house):
    house.knows(**ANN, bea=["crm_id:2"])
    house.say(
        by_email("17", "granted", NOON + 24 * DAY),
        by_email("17", "withdrawn", NOON + 25 * DAY, load_id=2),
    )
    house.run()
    assert not house.may("ann", "marketing", "email")
    house.say(Statement("17", crm_id="2", source="club", captured_at=NOON + 25 * DAY, load_id=3))
    house.run()
    assert not house.may("ann", "marketing", "email")
    assert house.may("bea", "marketing", "email")


def test_a_click_that_names_nobody_is_found(house):
    house.knows(**ANN)
    house.unsubscribe(Statement("m1", channel="email"))
    house.run()
    ((problem,),) = house.failures("assert_every_refusal_names_somebody")
    assert problem.startswith("test: 1 refusals name nobody, such as consent_event_id m1:marketing")


def test_a_day_judges_only_the_customers_that_it_moved(house):
    house.knows(**ANN, bea=["crm_id:2", "email:desk@x.dk"], cai=["crm_id:3"])
    house.say(
        by_email("s1", "granted"),
        Statement("s2", crm_id="3", email="desk@x.dk", channel="email"),
        Statement("s3", crm_id="2", captured_at=dt.datetime.combine(AS_OF, dt.time()) + 4 * DAY),
    )
    house.run()
    house.run()
    assert house.judged() == house.judged("consent_state") == set()
    house.say(by_email("s4", "denied", load_id=2))
    house.run()
    assert house.judged() == house.judged("consent_state") == {"ann"}
    # Cai spoke for an address of Bea's.
    denied = Statement("s5", crm_id="3", email="desk@x.dk", channel="email", status="denied")
    house.say(replace(denied, load_id=3))
    house.run()
    assert house.judged() == {"bea", "cai"}
    house.unsubscribe(Statement("m1", email="desk@x.dk", channel="email", load_id=4))
    house.run()
    assert house.judged() == {"bea", "cai"}
    house.as_of += 3 * DAY
    house.run()
    assert house.judged() == {"bea"}, "her grant was dated ahead"
    assert house.may("bea", "marketing", "sms")
    house.as_of += 21 * DAY
    house.run()
    assert house.judged() == {"bea"}, "and has run out"
    assert not house.may("bea", "marketing", "sms")
    house.knows(ann=["crm_id:3"])
    house.run()
    assert house.judged() == {"ann", "cai"}
    house.say(Statement("s3", crm_id="1", load_id=5))
    house.run()
    assert house.judged() == {"ann", "bea"}, "who is corrected said something else before"


def test_everybody_is_judged_anew_where_the_ground_has_moved(house):
    house.knows(**ANN, bea=["crm_id:2"])
    house.say(by_email("s1", "granted"), Statement("s2", crm_id="2", channel="fax"))
    house.run()
    house.query("update staging.stg_purposes set channel = 'fax' where channel = 'post'")
    house.run()
    assert house.judged() == {"ann", "bea"}
    assert house.tables() == house.rebuilt()
    house.query("update consent.evidence_of_consent_state set judged_on = '2190-01-01'")
    house.run()
    assert house.judged("consent_state") == {"ann", "bea"}
    house.query("delete from consent.evidence_of_permissions")
    house.run()
    assert house.judged() == {"ann", "bea"}
    house.customer_of.pop("phone:+4520000001")
    house.run()
    assert house.judged() == {"ann", "bea"}


def test_a_purpose_or_channel_that_config_does_not_name_is_never_permitted(house):
    house.knows(**ANN)
    house.say(
        Statement("s1", crm_id="1", purpose="profiling", channel="email"),
        Statement("s2", crm_id="1", purpose="marketing", channel="carrier pigeon"),
        Statement("s3", crm_id="1", purpose="profiling"),
    )
    house.run()
    assert not any(is_permitted for _, is_permitted in house.state().values())
    assert len(house.log()) == 3


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("marketing", "email"), {"ann"}),
        (("marketing", "sms"), set()),
        (("marketing",), {"ann"}),
        (("advertising",), set()),
        (("marketing", "email", "people.customer_id"), {"ann"}),
    ],
)
def test_the_macro_says_yes_only_to_those_who_did_even_under_a_bare_column_name(
    house, asked, expected
):
    house.knows(**ANN, bea=["crm_id:2"])
    house.say(by_email("s1", "granted"))
    house.run()
    people = "(values ('ann'), ('bea'), (null)) as people(customer_id)"
    answers = house.query(f"select customer_id, {rendered_permitted(*asked)} from {people}")
    assert {customer for customer, is_permitted in answers if is_permitted} == expected
    assert all(is_permitted is not None for _, is_permitted in answers)


def test_a_planted_member_without_permission_is_found_in_a_marketing_segment(house):
    house.knows(**ANN, bea=["crm_id:2"])
    house.say(by_email("s1", "granted"))
    house.run()
    house.query("insert into segments.definitions values ('newsletter', null), ('texts', 'sms')")
    plant = "insert into segments.memberships values ($1, $2, 'marketing', '2090-01-31', null, $3)"
    house.query(plant, "ann", "newsletter", True)
    house.query(plant, "bea", "newsletter", False)
    test = "assert_no_marketing_segment_member_without_permission"
    assert house.failures(test) == []
    house.query(plant, "bea", "newsletter", True)
    house.query(plant, "ann", "texts", True)
    assert {row[:2] for row in house.failures(test)} == {("bea", "newsletter"), ("ann", "texts")}

"""Whatever is said, corrected, merged and split: the tables hold what the published rules say.

And whatever day by day is added to them is what they would hold if they were built anew.
"""

import datetime as dt
from dataclasses import replace
from itertools import compress, pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.consent.consent_house import (
    AS_OF,
    CompiledModels,
    ConsentHouse,
    Statement,
    expected_state,
    permitted_channels,
    stated_places,
)

CUSTOMERS = ["ann", "bea", "office", "visitor"]
EMAILS = ["a@x.dk", "b@x.dk", "desk@x.dk"]
PHONES = ["+4520000001", "+4520000002"]
CRM_IDS = ["1", "2", "3"]
# Few moments, so that many statements meet at one instant; the last lies in the future.
MOMENTS = [
    dt.datetime.combine(AS_OF, dt.time(9)) + dt.timedelta(days=days)
    for days in (-30, -19, -2, -1, 0, 5)
]


@st.composite
def some_statements(draw: st.DrawFn) -> Statement:
    # Marketing runs out.
    purpose = draw(
        st.sampled_from(["marketing"] * 4 + ["surveys", "analytics", "service", "profiling"])
    )
    return Statement(
        id=draw(st.sampled_from([f"s{number}" for number in range(12)])),
        crm_id=draw(st.sampled_from([None, *CRM_IDS])),
        email=draw(st.sampled_from(EMAILS)),
        phone=draw(st.sampled_from(PHONES)),
        purpose=purpose,
        channel=draw(st.sampled_from([None, "email", "sms", "post", "web"])),
        status=draw(st.sampled_from(["granted", "granted", "denied", "withdrawn", "pending"])),
        captured_at=draw(st.sampled_from(MOMENTS)),
        expires_at=draw(st.sampled_from([None, None, MOMENTS[2], MOMENTS[-1]])),
    )


class ConsentMachine(RuleBasedStateMachine):
    """Statements arrive, come again, are corrected; customers merge and split; days pass."""

    compiled: CompiledModels

    def __init__(self) -> None:
        super().__init__()
        self.house = ConsentHouse(self.compiled)
        self.load_id = 1
        self.seen: set[tuple] = set()

    def teardown(self) -> None:
        self.house.close()

    @initialize()
    def everybody_stands_alone(self) -> None:
        self.house.knows(
            ann=["crm_id:1", "email:a@x.dk", "phone:+4520000001"],
            bea=["crm_id:2", "crm_id:3", "email:b@x.dk", "phone:+4520000002"],
            office=["email:desk@x.dk"],
            visitor=["cookie_id:v"],
        )

    @rule(statements=st.lists(some_statements(), min_size=1, max_size=4))
    def somebody_speaks_or_is_corrected(self, statements: list[Statement]) -> None:
        self.load_id += 1
        self.house.say(*(replace(said, load_id=self.load_id) for said in statements))

    @rule(loads=st.lists(st.lists(some_statements(), max_size=3), min_size=2, max_size=3))
    def several_loads_come_before_the_room_is_built(self, loads: list[list[Statement]]) -> None:
        for statements in loads:
            self.somebody_speaks_or_is_corrected(statements)

    @rule()
    def the_same_file_comes_again(self) -> None:
        self.load_id += 1
        self.house.say(*(replace(said, load_id=self.load_id) for said in self.house.statements))

    @rule(email=st.sampled_from(EMAILS), at=st.sampled_from(MOMENTS))
    def somebody_unsubscribes(self, email: str, at: dt.datetime) -> None:
        self.load_id += 1
        self.house.unsubscribe(
            Statement(
                f"m{self.load_id}",
                email=email,
                channel="email",
                captured_at=at,
                load_id=self.load_id,
            )
        )

    @rule(data=st.data(), customer=st.sampled_from(CUSTOMERS))
    def an_identifier_moves_to_another_customer(self, data: st.DataObject, customer: str) -> None:
        known_as = data.draw(st.sampled_from(sorted(self.house.customer_of)))
        self.house.customer_of[known_as] = customer

    @rule(days=st.sampled_from([1, 4, 20]))
    def days_pass(self, days: int) -> None:
        self.house.as_of += dt.timedelta(days=days)

    @rule(data=st.data())
    def an_identifier_is_blocked(self, data: st.DataObject) -> None:
        known_as = data.draw(st.sampled_from(sorted(self.house.customer_of)))
        if len(self.house.customer_of) > 5:
            self.house.customer_of.pop(known_as)

    @rule(statements=st.lists(some_statements(), min_size=1, max_size=2))
    def a_run_is_killed_between_the_tables(self, statements: list[Statement]) -> None:
        self.somebody_speaks_or_is_corrected(statements)
        self.house.run(models=("consent_state",))

    @invariant()
    def the_room_keeps_its_rules(self) -> None:
        self.house.run()
        self._the_tables_say_what_the_rules_say()
        assert self.house.tables() == self.house.rebuilt()
        self._the_log_only_grows()
        self._the_log_has_every_version_that_says_something_else()
        self._nobody_is_permitted_what_nobody_of_them_granted()

    def _the_tables_say_what_the_rules_say(self) -> None:
        said = [*self.house.statements, *self.house.unsubscribed]
        house = self.house
        state = expected_state(said, house.customer_of, house.as_of)
        assert house.state() == state
        permitted = permitted_channels(state, house.customer_of)
        permissions = house.permissions()
        assert set(permissions) == stated_places(state, house.customer_of)
        assert permissions == {place: permitted[place] for place in permissions}
        for (customer, purpose, channel), answer in house.answers([*CUSTOMERS, "nobody"]).items():
            assert answer == any(
                is_permitted
                for (c, p, ch), is_permitted in permitted.items()
                if (c, p) == (customer, purpose) and channel in {ch, None}
            )

    def _the_log_only_grows(self) -> None:
        log = self.house.log()
        assert self.seen <= log
        self.house.add_to_log()
        assert self.house.log() == log
        self.seen = log

    def _the_log_has_every_version_that_says_something_else(self) -> None:
        versions = sorted(self.house.versions.values(), key=lambda said: (said.id, said.load_id))
        # Who said it and about which address, not what else stood on the record.
        contents = [
            (
                replace(said, crm_id=None, email=None, phone=None, load_id=0),
                said.speaker,
                said.contact_point,
                said.refused_point("email"),
                said.refused_point("sms"),
            )
            for said in versions
        ]
        is_new = [former != content for former, content in pairwise([None, *contents])]
        said = list(compress(versions, is_new))
        logged = self.house.query(
            "select consent_event_id, status, captured_at, _load_id from consent.consent_log "
            "where statement_source = 'consent_events' order by consent_event_id, revision"
        )
        assert [(v.id, v.status, v.captured_at, v.load_id) for v in said] == logged

    def _nobody_is_permitted_what_nobody_of_them_granted(self) -> None:
        granted = {
            (self.house.customer_of.get(said.speaker), said.purpose)
            for said in self.house.statements
            if said.status == "granted"
        }
        for (customer, purpose, _), is_permitted in self.house.permissions().items():
            if is_permitted and purpose in {"marketing", "surveys"}:
                assert (customer, purpose) in granted


def test_no_sequence_of_statements_merges_and_splits_breaks_the_rules(consent_models):
    ConsentMachine.compiled = consent_models
    machine = ConsentMachine.TestCase()
    machine.settings = settings(
        max_examples=12,  # 100 of 12 steps have passed; these take 10 s
        stateful_step_count=8,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.runTest()

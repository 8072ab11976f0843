"""The consent room on a table's top: the project's own compiled SQL on a handful of statements.

Compiles the models with dbt once, then runs their SQL in a DuckDB in memory: 0.1 s a round instead
of 10 s. `ConsentHouse` stands for staging and identity; `expected_state` and `permitted_channels`
tell the published rules again in plain Python, without SQL.
"""

import datetime as dt
import hmac
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import jinja2
import yaml

from cx_pipeline.settings import DBT_PROJECT_DIR, Settings
from cx_pipeline.warehouse.session import prepare_session
from tests.conftest import run_dbt

KEY = "key of the consent tests"
# Far ahead of any clock, so that the as-of day alone judges what has expired.
AS_OF = dt.date(2090, 1, 31)
NOON = dt.datetime.combine(dt.date(2090, 1, 1), dt.time(12))
PURPOSES = [
    # purpose, legal basis, channel, requires consent, expires after days
    ("service", "contract", "email", False, None),
    ("analytics", "legitimate_interests", "web", False, None),
    ("analytics", "legitimate_interests", "store", False, None),
    ("marketing", "consent", "email", True, 20),
    ("marketing", "consent", "sms", True, 20),
    ("marketing", "consent", "post", True, None),
    ("surveys", "consent", "email", True, None),
]
REFUSALS = {"denied", "withdrawn"}
BY_CUSTOMER = ("consent_state", "permissions")
MODELS = ("consent_log", *BY_CUSTOMER)
TESTS = (
    "assert_no_marketing_segment_member_without_permission",
    "assert_every_refused_purpose_is_declared",
    "assert_every_refusal_finds_its_customer",
    "assert_every_refusal_names_somebody",
)

State = dict[tuple[str, str, str, str | None], tuple[str, bool]]


@dataclass(frozen=True)
class CompiledModels:
    """The SQL that adds to the room's models, that builds them anew, and of the tests on them."""

    increments: dict[str, str]
    full_refreshes: dict[str, str]
    tests: dict[str, str]


@dataclass(frozen=True)
class Statement:
    """One statement as staging holds it."""

    id: str
    crm_id: str | None = None
    email: str | None = None
    phone: str | None = None
    purpose: str = "marketing"
    channel: str | None = None
    status: str = "granted"
    captured_at: dt.datetime = NOON
    expires_at: dt.datetime | None = None
    load_id: int = 1
    source: str = "test"

    @property
    def speaker(self) -> str:
        """The best identifier on the record."""
        return identifier("crm_id", self.crm_id) or self.contact_point or self._any_address

    @property
    def contact_point(self) -> str | None:
        """The address that the statement is about."""
        if self.channel == "email":
            return identifier("email", self.email)
        if self.channel in {"sms", "phone"}:
            return identifier("phone", self.phone)
        return None

    def refused_point(self, channel: str) -> str | None:
        """The address on a refusal that a channel goes to: it binds whoever shares it."""
        if self.status not in REFUSALS:
            return None
        return replace(self, channel=channel).contact_point

    @property
    def _any_address(self) -> str:
        return identifier("email", self.email) or identifier("phone", self.phone) or ""


def identifier(identifier_type: str, value: str | None) -> str | None:
    return f"{identifier_type}:{value}" if value else None


def compile_models(data_dir: Path) -> CompiledModels:
    """Compile the models as for a warehouse that holds a log already."""
    with duckdb.connect(str(data_dir / "warehouse.duckdb")) as connection:
        connection.execute("create schema consent")
        for model in MODELS:
            connection.execute(create_table(model))
    compiled = data_dir / "target/compiled/cx_pipeline"
    kinds = []
    for chosen in ([*MODELS, "--full-refresh"], [*MODELS, *TESTS]):
        run_dbt(data_dir, "compile", "--select", *chosen)
        kinds.append(
            {name: (compiled / f"models/consent/{name}.sql").read_text() for name in MODELS}
        )
    return CompiledModels(
        full_refreshes=kinds[0],
        increments=kinds[1],
        tests={name: (compiled / f"tests/{name}.sql").read_text() for name in TESTS},
    )


class Relation(str):
    """A table's name, as dbt's macros handle it."""

    __slots__ = ()

    @property
    def identifier(self) -> str:
        return self.split(".")[1]

    def incorporate(self, path: dict[str, str]) -> "Relation":
        return Relation(f"consent.{path['identifier']}")


@cache
def hooks_of(model: str, *, is_incremental: bool) -> tuple[list[str], list[str], str]:
    """Return the SQL before and after a build of a model, and that which adds an increment to it.

    The macros are those of the project, called as the model's config calls them; the increment lies
    in the table `increment`.
    """
    source = (DBT_PROJECT_DIR / f"models/consent/{model}.sql").read_text()
    macros = (DBT_PROJECT_DIR / "macros/by_customer.sql").read_text()
    engine_functions = (DBT_PROJECT_DIR / "macros/engine/functions.sql").read_text()
    environment = jinja2.Environment(autoescape=False, extensions=["jinja2.ext.do"])
    columns = [{"name": name} for name in columns_of(model)]

    def macro_return(value: str) -> str:
        return value

    def render(text: str, **more: Any) -> str:
        return environment.from_string(text).render(
            this=Relation(f"consent.{model}"),
            ref=lambda name: f"{'staging' if name.startswith('stg_') else 'consent'}.{name}",
            source=lambda schema, name: f"{schema}.{name}",
            judges_some=lambda: is_incremental,
            can_judge_some=lambda: True,
            now_utc=environment.from_string(engine_functions).module.duckdb__now_utc,
            get_quoted_csv=", ".join,
            **{"return": macro_return},
            **more,
        )

    config: dict[str, Any] = {}
    render(source.split("\n}}\n")[0] + "}}", config=config.update)
    before = [render(macros + hook).strip() for hook in config["pre_hook"]]
    after = [render(macros + config["post_hook"])]
    call = "{{ get_incremental_by_customer_sql(arguments) }}"
    arguments = {
        "target_relation": Relation(f"consent.{model}"),
        "temp_relation": "increment",
        "dest_columns": columns,
    }
    return [sql for sql in before if sql], after, render(macros + call, arguments=arguments)


def rendered_permitted(
    purpose: str, channel: str | None = None, customer_id: str = "customer_id"
) -> str:
    """Return the SQL of the macro permitted()."""
    given = ", ".join(repr(value) if value else "none" for value in (purpose, channel))
    return rendered_call(f"permitted({given}, {customer_id!r})")


def rendered_call(call: str) -> str:
    """Return the SQL of a call of a macro of permitted.sql."""
    macros = (DBT_PROJECT_DIR / "macros/permitted.sql").read_text()
    names = {"int_consent__known_customers": "known_customers"}
    return (
        jinja2.Environment(autoescape=False)
        .from_string(f"{macros}{{{{ {call} }}}}")
        .render(ref=lambda model: f"consent.{names.get(model, model)}")
    )


@cache
def columns_of(model: str) -> dict[str, str]:
    """Return the types of a model's columns by name, as its contract has them."""
    described = yaml.safe_load(
        (DBT_PROJECT_DIR / "models/consent/_consent__models.yml").read_text()
    )
    (columns,) = [m["columns"] for m in described["models"] if m["name"] == model]
    return {column["name"]: column["data_type"] for column in columns}


def create_table(model: str) -> str:
    """Return the DDL of a table of the room."""
    columns = ", ".join(f"{name} {kind}" for name, kind in columns_of(model).items())
    return f"create table consent.{model} ({columns})"


def create_inputs(connection: duckdb.DuckDBPyConnection) -> None:
    """Create what the room reads, empty but for the purposes."""
    contract = yaml.safe_load(
        (DBT_PROJECT_DIR / "models/staging/_staging__sources.yml").read_text()
    )
    entities = {table["name"]: table["columns"] for table in contract["sources"][0]["tables"]}
    for schema in ("sources", "staging", "identity", "consent", "segments"):
        connection.execute(f"create schema if not exists {schema}")
    for entity in ("consent_events", "message_events"):
        columns = ", ".join(f"{c['name']} {c['data_type']}" for c in entities[entity])
        connection.execute(
            f"create table staging.stg_{entity} "
            f"({columns}, profile_key uuid, _source varchar, _load_id bigint)"
        )
    connection.execute(
        """
        create table staging.stg_purposes (
            purpose varchar, name varchar, data_use varchar, legal_basis varchar, channel varchar,
            requires_consent boolean, expires_after_days bigint
        );
        create table staging.stg_as_of (as_of_date date);
        create table sources.quarantine_limits as select 'test' as source_name, 0.05 as max_share;
        create table identity.customer_xref (
            profile_key uuid, identifier_type varchar, customer_id varchar, is_known boolean,
            valid_from timestamp, valid_to timestamp, is_current boolean
        );
        create table identity.contact_points (
            profile_key uuid, contact_point_type varchar, value varchar
        );
        create view consent.known_customers as
            select customer_id from identity.customer_xref where is_current and is_known;
        create view consent.purposes as select * from staging.stg_purposes;
        create table segments.memberships (
            customer_id varchar, segment varchar, purpose varchar, entered_date date,
            left_date date, is_current boolean
        );
        create table segments.definitions (segment varchar, channel varchar);
        """
    )
    connection.executemany(
        "insert into staging.stg_purposes values ($1, $1, 'use', $2, $3, $4, $5)", PURPOSES
    )


@dataclass
class ConsentHouse:
    """Statements and customers going in, the room's tables coming out."""

    compiled: CompiledModels
    versions: dict[tuple[str, str, int], Statement] = field(default_factory=dict)
    unsubscribed: list[Statement] = field(default_factory=list)
    customer_of: dict[str, str] = field(default_factory=dict)
    as_of: dt.date = AS_OF
    built: set[str] = field(default_factory=set)
    mapped: dict[str, str] = field(default_factory=dict)
    loads: int = 0

    def __post_init__(self) -> None:
        self.connection = duckdb.connect()
        # One thread: on a handful of rows the others only cost.
        self.connection.execute("attach ':memory:' as warehouse; use warehouse; set threads = 1")
        prepare_session(self.connection, Settings(identity_key=KEY))
        create_inputs(self.connection)
        self.connection.execute(create_table("consent_log"))

    def close(self) -> None:
        self.connection.close()

    def query(self, sql: str, *values: object) -> list[tuple]:
        return self.connection.execute(sql, list(values)).fetchall()

    @staticmethod
    def profile_key(known_as: str) -> UUID:
        return UUID(bytes=hmac.digest(KEY.encode(), known_as.encode(), "sha256")[:16])

    def knows(self, **customers: list[str]) -> None:
        """Say which identifiers each customer has: knows(ann=["crm_id:1", "email:a@x.dk"])."""
        for customer, identifiers in customers.items():
            self.customer_of.update(dict.fromkeys(identifiers, customer))

    def say(self, *statements: Statement) -> None:
        """Put statements into staging, which has one row per statement and load."""
        self.versions.update({(said.source, said.id, said.load_id): said for said in statements})

    @property
    def statements(self) -> list[Statement]:
        """The latest version of each statement."""
        in_order = sorted(self.versions.values(), key=lambda said: said.load_id)
        return list({(said.source, said.id): said for said in in_order}.values())

    def unsubscribe(self, statement: Statement) -> None:
        """Put an unsubscribe click on a marketing message into staging."""
        self.unsubscribed.append(replace(statement, purpose="marketing", status="withdrawn"))

    def run(self, *, full_refresh: bool = False, models: tuple[str, ...] = BY_CUSTOMER) -> None:
        """Build the room as one run of the pipeline does."""
        self._write_inputs()
        self.add_to_log(full_refresh=full_refresh)
        for model in models:
            is_incremental = model in self.built and not full_refresh
            before, after, add = hooks_of(model, is_incremental=is_incremental)
            if is_incremental:
                add = f"create temp table increment as {self.compiled.increments[model]};{add};"
                add += "drop table increment"
            else:
                anew = self.compiled.full_refreshes[model]
                add = f"create or replace table consent.{model} as {anew}"
            for sql in ("begin", *before, add, *after, "commit"):
                self.connection.execute(sql)
            self.built.add(model)

    def add_to_log(self, *, full_refresh: bool = False) -> None:
        kind = self.compiled.full_refreshes if full_refresh else self.compiled.increments
        self.connection.execute(f"insert into consent.consent_log by name {kind['consent_log']}")

    def judged(self, model: str = "permissions") -> set[str]:
        """Return whose rows the last increment built anew."""
        return {customer for (customer,) in self.query(f"from customers_to_judge_for_{model}")}

    def tables(self) -> dict[str, list[tuple]]:
        """Return all rows of the tables that are built by customer."""
        return {model: self.query(f"from consent.{model} order by all") for model in BY_CUSTOMER}

    def rebuilt(self) -> dict[str, list[tuple]]:
        """Return what the tables would hold if they were built anew from the same log."""
        self.query("begin")
        for model in BY_CUSTOMER:
            anew = self.compiled.full_refreshes[model]
            self.query(f"create or replace table consent.{model} as {anew}")
        tables = self.tables()
        self.query("rollback")
        return tables

    def _write_inputs(self) -> None:
        for table in (
            "staging.stg_consent_events",
            "staging.stg_message_events",
            "identity.contact_points",
            "staging.stg_as_of",
        ):
            self.connection.execute(f"delete from {table}")
        self.query("insert into staging.stg_as_of values ($1)", self.as_of)
        self._write_map()
        self._insert(
            "staging.stg_consent_events",
            [
                {
                    "consent_event_id": said.id,
                    "purpose": said.purpose,
                    "channel": said.channel,
                    "status": said.status,
                    "captured_at": said.captured_at,
                    "expires_at": said.expires_at,
                    **self._who(said),
                }
                for said in self.versions.values()
            ],
        )
        self._insert(
            "staging.stg_message_events",
            [
                {
                    "event_id": said.id,
                    "channel": said.channel,
                    "event_name": "unsubscribed",
                    "occurred_at": said.captured_at,
                    "message_type": "marketing",
                    **self._who(said),
                }
                for said in self.unsubscribed
            ],
        )

    def _write_map(self) -> None:
        """Write who is who as identity does: a key that moved ends one stay and begins another."""
        self.loads += 1
        now = NOON + dt.timedelta(minutes=self.loads)
        for known_as in self.mapped.keys() - self.customer_of.keys():
            self.query(
                "delete from identity.customer_xref where profile_key = $1",
                self.profile_key(known_as),
            )
        moved = [
            known_as
            for known_as, customer in self.customer_of.items()
            if self.mapped.get(known_as) != customer
        ]
        for known_as in moved:
            self.query(
                "update identity.customer_xref set valid_to = $1, is_current = false "
                "where profile_key = $2 and is_current",
                now,
                self.profile_key(known_as),
            )
        self._insert(
            "identity.customer_xref",
            [
                {
                    "profile_key": self.profile_key(known_as),
                    "identifier_type": known_as.split(":")[0],
                    "customer_id": self.customer_of[known_as],
                    "valid_from": now,
                    "is_current": True,
                }
                for known_as in moved
            ],
        )
        known = {
            customer
            for known_as, customer in self.customer_of.items()
            if not known_as.startswith("cookie_id:")
        }
        self.query(
            "update identity.customer_xref set is_known = list_contains($1, customer_id)",
            sorted(known),
        )
        self._insert(
            "identity.contact_points",
            [
                {
                    "profile_key": self.profile_key(known_as),
                    "contact_point_type": known_as.split(":")[0],
                    "value": known_as.split(":")[1],
                }
                for known_as in self.customer_of
                if known_as.split(":")[0] in {"email", "phone"}
            ],
        )
        self.mapped = dict(self.customer_of)

    def _who(self, said: Statement) -> dict[str, Any]:
        return {
            "crm_id": said.crm_id,
            "email": said.email,
            "phone": said.phone,
            "profile_key": self.profile_key(said.speaker) if said.speaker else None,
            "_source": said.source,
            "_load_id": said.load_id,
        }

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        marks = ", ".join("?" * len(rows[0]))
        self.connection.executemany(
            f"insert into {table} ({', '.join(rows[0])}) values ({marks})",
            [list(row.values()) for row in rows],
        )

    def failures(self, test: str) -> list[tuple]:
        """Return what a test of the project finds."""
        return self.query(self.compiled.tests[test])

    def log(self) -> set[tuple]:
        return set(self.query("select * from consent.consent_log"))

    def state(self) -> State:
        """Return (status, is_permitted) by customer, purpose, channel and contact point."""
        names = {self.profile_key(known_as): known_as for known_as in self._addresses()}
        rows = self.query(
            "select customer_id, purpose, channel, contact_point_key, status, is_permitted "
            "from consent.consent_state"
        )
        return {
            (customer, purpose, channel, names.get(point)): (status, is_permitted)
            for customer, purpose, channel, point, status, is_permitted in rows
        }

    def _addresses(self) -> set[str]:
        said = [*self.versions.values(), *self.unsubscribed]
        return {s.contact_point for s in said if s.contact_point} | set(self.customer_of)

    def permissions(self) -> dict[tuple[str, str, str], bool]:
        rows = self.query(
            "select customer_id, purpose, channel, is_permitted from consent.permissions"
        )
        return {tuple(row[:3]): row[3] for row in rows}

    def may(self, customer: str, purpose: str, channel: str | None = None) -> bool:
        """Ask with the macro."""
        asked = rendered_permitted(purpose, channel, "asked.customer_id")
        one = f"select {asked} from (select $1 as customer_id) as asked"
        ((answer,),) = self.query(one, customer)
        return answer

    def answers(self, customers: Iterable[str]) -> dict[tuple[str, str, str | None], bool]:
        """Return what the macro says of every purpose and channel, and of any channel (None)."""
        asked = [(purpose, channel) for purpose, _, channel, _, _ in PURPOSES]
        asked += [(purpose, None) for purpose in dict(asked)] + [("profiling", None)]
        columns = ", ".join(rendered_permitted(*place) for place in asked)
        rows = self.query(
            f"select customer_id, {columns} from (select unnest($1) as customer_id) as people",
            list(customers),
        )
        return {
            (customer, *place): answer
            for customer, *found in rows
            for place, answer in zip(asked, found, strict=True)
        }


def expected_state(
    said: list[Statement], customer_of: dict[str, str], as_of: dt.date = AS_OF
) -> State:
    """Tell the published rules: what holds, of statements in their latest versions."""
    known = {(purpose, channel): (needs, days) for purpose, _, channel, needs, days in PURPOSES}
    by_channel: list[tuple[Statement, str, str | None]] = []
    for statement in said:
        if statement.status == "granted" and statement.captured_at >= dt.datetime.combine(
            as_of + dt.timedelta(days=2), dt.time()
        ):
            continue
        channels = [c for p, c in known if p == statement.purpose]
        is_meant_for_all = statement.channel is None or (
            statement.status in REFUSALS and channels and statement.channel not in channels
        )
        if is_meant_for_all:
            by_channel += [(statement, channel, None) for channel in channels]
        else:
            by_channel.append((statement, statement.channel, statement.contact_point))
    who_has: dict[str, set[str]] = defaultdict(set)
    for known_as, customer in customer_of.items():
        who_has[known_as].add(customer)
    for statement, _, point in by_channel:
        if point and statement.speaker in customer_of:
            who_has[point].add(customer_of[statement.speaker])
    heard: dict[tuple[str, str, str, str | None], list[Statement]] = defaultdict(list)
    for statement, channel, point in by_channel:
        if statement.speaker in customer_of:
            speaker = customer_of[statement.speaker]
            heard[speaker, statement.purpose, channel, point].append(statement)
        if refused := statement.refused_point(channel):
            for customer in who_has[refused]:
                heard[customer, statement.purpose, channel, refused].append(statement)
    state: State = {}
    for (customer, purpose, channel, point), statements in heard.items():
        of_customer = heard.get((customer, purpose, channel, None), []) if point else []
        last = max(s.captured_at for s in [*statements, *of_customer])
        final = [s for s in [*statements, *of_customer] if s.captured_at == last]
        needs_consent, days = known.get((purpose, channel), (None, None))
        status = _status_of(final, days, as_of)
        if needs_consent is None:
            is_permitted = False
        elif needs_consent:
            is_permitted = status == "granted"
        else:
            is_permitted = status in {"granted", "expired"}
        state[customer, purpose, channel, point] = (status, is_permitted)
    return state


def _status_of(final: list[Statement], days: int | None, as_of: dt.date) -> str:
    statuses = {s.status for s in final}
    if "granted" in statuses and len(statuses) > 1:
        return "conflict"
    for status in ("withdrawn", "denied", "pending"):
        if status in statuses:
            return status
    ends = [s.expires_at for s in final if s.expires_at]
    if not ends and days is not None:
        ends = [final[0].captured_at + dt.timedelta(days=days)]
    return "expired" if ends and min(ends).date() <= as_of else "granted"


def known_customers(customer_of: dict[str, str]) -> set[str]:
    """Return the customers of whom more than a browser is known."""
    return {c for known_as, c in customer_of.items() if not known_as.startswith("cookie_id:")}


def stated_places(state: State, customer_of: dict[str, str]) -> set[tuple[str, str, str]]:
    """Tell of which customer, purpose and channel permissions has a row."""
    needs_consent = {(purpose, channel): needs for purpose, _, channel, needs, _ in PURPOSES}
    known = known_customers(customer_of)
    return {
        (customer, purpose, channel)
        for customer, purpose, channel, _ in state
        if (purpose, channel) in needs_consent
        and (needs_consent[purpose, channel] or customer in known)
    }


def permitted_channels(
    state: State, customer_of: dict[str, str]
) -> dict[tuple[str, str, str], bool]:
    """Tell the published rules: which customer may be treated for what on which channel."""
    stating = {customer for customer, *_ in state}
    answers = {}
    for purpose, _, channel, needs_consent, _ in PURPOSES:
        for customer in stating if needs_consent else known_customers(customer_of):
            spoken = {
                point: is_permitted
                for (c, p, ch, point), (_, is_permitted) in state.items()
                if (c, p, ch) == (customer, purpose, channel) and point
            }
            _, of_customer = state.get(
                (customer, purpose, channel, None), (None, not needs_consent)
            )
            kind = "email" if channel == "email" else "phone"
            silent = {
                known_as
                for known_as, owner in customer_of.items()
                if owner == customer and known_as.startswith(f"{kind}:")
            } - set(spoken)
            answers[customer, purpose, channel] = any(spoken.values()) or (
                of_customer and (not spoken or bool(silent))
            )
    return answers

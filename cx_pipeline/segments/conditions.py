"""The language of config/segments/*.yml: what a business owner may say of a customer.

Reads:     nothing; the columns that exist come in as a `Catalogue`
Keeps out: how a condition becomes SQL (`compiling`), who is in (`memberships`)

A condition is true or false, never unknown: a column without a value meets no comparison, and so
it meets `none`, `is_not` and `not_in`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cx_pipeline.warehouse.config_files import ConfigModel, did_you_mean

Value = bool | int | Decimal | float | datetime | date | str
Word = Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9_]*$", max_length=63)]

BOOLEAN, NUMBER, TEXT, DATE, LIST = "yes or no", "number", "text", "date", "list of texts"

OPERATORS: dict[str, tuple[str, ...]] = {
    "is": (BOOLEAN, NUMBER, TEXT, DATE),
    "is_not": (BOOLEAN, NUMBER, TEXT, DATE),
    "in": (NUMBER, TEXT, DATE),
    "not_in": (NUMBER, TEXT, DATE),
    "contains": (LIST,),
    "at_least": (NUMBER, DATE),
    "at_most": (NUMBER, DATE),
    "more_than": (NUMBER, DATE),
    "less_than": (NUMBER, DATE),
    "between": (NUMBER, DATE),
    "within_days": (DATE,),
    "within_next_days": (DATE,),
    "is_known": (BOOLEAN, NUMBER, TEXT, DATE, LIST),
}
"""What may be asked of a column, and of which kinds of column."""

JOURNEY_KINDS = ("touchpoint", "order", "case", "feedback")
KINDS = ("all", "any", "none", "column", "rfm", *JOURNEY_KINDS)


_NUMBER_TYPES = (
    *("decimal", "numeric", "double", "float", "real"),
    *("tinyint", "smallint", "integer", "int", "bigint", "hugeint"),
    *("utinyint", "usmallint", "uinteger", "ubigint"),
)


def kind_of(data_type: str) -> str:
    """Return what a business owner calls a DuckDB type."""
    name = data_type.lower().strip()
    if name.endswith("[]"):
        return LIST
    if name.startswith("bool"):
        return BOOLEAN
    if name.startswith(("date", "timestamp")):
        return DATE
    return NUMBER if name.split("(")[0] in _NUMBER_TYPES else TEXT


@dataclass(frozen=True)
class Catalogue:
    """What a condition may refer to."""

    columns: dict[str, str] = field(default_factory=dict)
    """Kind of each column of customer_360.customers."""
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Channels of each purpose."""


_CATALOGUE: ContextVar[Catalogue] = ContextVar("catalogue")


@contextmanager
def checked_against(catalogue: Catalogue) -> Iterator[None]:
    """Check every condition read inside the block against a catalogue."""
    token = _CATALOGUE.set(catalogue)
    try:
        yield
    finally:
        _CATALOGUE.reset(token)


def _one_of(word: str, known: Iterable[str], what: str) -> str:
    if word not in known:
        raise ValueError(f'there is no {what} "{word}"{did_you_mean(word, sorted(known))}')
    return word


class _JourneyFilter(ConfigModel):
    within_days: int | None = Field(
        default=None, gt=0, description="Only what happened in the last so many days of data."
    )
    at_least: int | None = Field(default=None, ge=0, description="How often; once when empty.")
    at_most: int | None = Field(default=None, ge=0, description="How often at most.")

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if None not in (self.at_least, self.at_most) and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is more than at_most {self.at_most}")
        return self

    def filters(self) -> dict[str, Any]:
        """Return the fields that choose rows, by their column name."""
        counts = {"within_days", "at_least", "at_most"}
        return {
            type(self).column_of(name): value
            for name in type(self).model_fields
            if name not in counts and (value := getattr(self, name)) is not None
        }

    @classmethod
    def column_of(cls, name: str) -> str:
        """Return the table's column for a field."""
        extra = cls.model_fields[name].json_schema_extra
        return extra["column"] if isinstance(extra, dict) else name


OneOrMore = str | Annotated[list[str], Field(min_length=1)]
Score = Annotated[float, Field(strict=True)]


def _words(*words: str) -> AfterValidator:
    """Refuse a word that our models never write into the column: it would match nobody."""

    def check(value: OneOrMore) -> OneOrMore:
        for word in [value] if isinstance(value, str) else value:
            if word not in words:
                raise ValueError(f'there is no "{word}" here; it is one of {", ".join(words)}')
        return value

    return AfterValidator(check)


TouchpointType = Annotated[
    OneOrMore,
    _words(
        *("order", "delivery", "return", "store_visit", "web", "message", "case", "survey"),
        *("review", "device", "contract"),
    ),
]
Stage = Annotated[OneOrMore, _words("discover", "explore", "buy", "deliver", "inspire")]
Direction = Annotated[OneOrMore, _words("inbound", "outbound")]
FeedbackType = Annotated[OneOrMore, _words("survey", "review")]
Metric = Annotated[OneOrMore, _words("nps", "csat", "ces", "rating", "other")]
NpsGroup = Annotated[OneOrMore, _words("promoter", "passive", "detractor")]


class TouchpointFilter(_JourneyFilter):
    """Contacts with the company: rows of journey.touchpoints."""

    type: TouchpointType | None = Field(
        default=None, json_schema_extra={"column": "touchpoint_type"}
    )
    event_name: OneOrMore | None = None
    channel: OneOrMore | None = None
    stage: Stage | None = None
    direction: Direction | None = None
    store_id: OneOrMore | None = None
    product_id: OneOrMore | None = None
    campaign_id: OneOrMore | None = None
    is_digital: bool | None = None


class OrderFilter(_JourneyFilter):
    """Orders and receipts: rows of journey.orders."""

    channel: OneOrMore | None = None
    status: OneOrMore | None = None
    store_id: OneOrMore | None = None
    coupon_code: OneOrMore | None = None
    is_on_time: bool | None = None
    is_delivered: bool | None = None
    is_returned: bool | None = None
    is_refund: bool = Field(
        default=False, description="True: paid back over the till, instead of orders."
    )
    is_cancelled: bool | None = None


class CaseFilter(_JourneyFilter):
    """Service cases: rows of experience.cases."""

    channel: OneOrMore | None = None
    category: OneOrMore | None = None
    priority: OneOrMore | None = None
    status: OneOrMore | None = None
    is_open: bool | None = None
    is_first_contact_resolution: bool | None = None


class FeedbackFilter(_JourneyFilter):
    """Survey answers, reviews and ratings: rows of experience.feedback."""

    type: FeedbackType | None = Field(default=None, json_schema_extra={"column": "feedback_type"})
    metric: Metric | None = None
    score: Score | Annotated[list[Score], Field(min_length=1)] | None = Field(
        default=None, description="On the scale of its source."
    )
    nps_group: NpsGroup | None = None
    touchpoint: OneOrMore | None = None
    store_id: OneOrMore | None = None
    product_id: OneOrMore | None = None


Scores = Annotated[list[Annotated[int, Field(ge=1, le=5)]], Field(min_length=1)]


class RfmScores(ConfigModel):
    """Scores 1 to 5 among the customers who have bought, 5 the best fifth.

    Recency, frequency and monetary value by quintile (Hughes, Strategic Database Marketing,
    1994), over the days since the last order, the number of orders and their amount.
    """

    recency: Scores | None = None
    frequency: Scores | None = None
    monetary: Scores | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of recency, frequency, monetary")
        return self


class Condition(ConfigModel):
    """A group of conditions, a column's value, a score, or something that happened."""

    all: "list[Condition] | None" = Field(default=None, min_length=1)
    any: "list[Condition] | None" = Field(default=None, min_length=1)
    none: "list[Condition] | None" = Field(default=None, min_length=1)
    column: str | None = Field(default=None, description="A column of customer_360.customers.")
    rfm: RfmScores | None = None
    touchpoint: TouchpointFilter | None = None
    order: OrderFilter | None = None
    case: CaseFilter | None = None
    feedback: FeedbackFilter | None = None

    is_value: Value | None = Field(default=None, alias="is")
    is_not: Value | None = None
    in_values: list[Value] | None = Field(default=None, alias="in", min_length=1)
    not_in: list[Value] | None = Field(default=None, min_length=1)
    contains: Value | None = None
    at_least: Value | None = None
    at_most: Value | None = None
    more_than: Value | None = None
    less_than: Value | None = None
    between: tuple[Value, Value] | None = Field(default=None, description="Both ends included.")
    within_days: int | None = Field(
        default=None, gt=0, description="Among the last so many days of data."
    )
    within_next_days: int | None = Field(
        default=None, gt=0, description="Among the first so many days after the last day of data."
    )
    is_known: bool | None = None

    @property
    def kind(self) -> str:
        """Return which of the nine forms this is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def operator(self) -> tuple[str, Any]:
        """Return the operator of a column condition and its value."""
        return self._operators()[0]

    def _operators(self) -> list[tuple[str, Any]]:
        fields = {"is": "is_value", "in": "in_values"}
        return [
            (name, value)
            for name in OPERATORS
            if (value := getattr(self, fields.get(name, name))) is not None
        ]

    @field_validator("column")
    @classmethod
    def _column_exists(cls, column: str | None) -> str | None:
        catalogue = _CATALOGUE.get()
        if column is None:
            return None
        return _one_of(column, catalogue.columns, "column of customer_360.customers named")

    @model_validator(mode="after")
    def _is_one_condition(self) -> Self:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none of them"
            raise ValueError(f"a condition is exactly one of {', '.join(KINDS)}; here is {found}")
        operators = self._operators()
        if kinds[0] != "column":
            if operators:
                raise ValueError(
                    f"'{operators[0][0]}' stands beside '{kinds[0]}'; put it inside "
                    f"'{kinds[0]}', or beside a 'column'"
                )
            return self
        if len(operators) != 1:
            raise ValueError(
                f"column '{self.column}' needs exactly one of {', '.join(OPERATORS)}; "
                f"here is {' and '.join(name for name, _ in operators) or 'none'}"
            )
        self._check_value(*operators[0])
        return self

    def _check_value(self, operator: str, value: Any) -> None:
        kind = _CATALOGUE.get().columns[str(self.column)]
        if kind not in OPERATORS[operator]:
            fitting = [name for name, kinds in OPERATORS.items() if kind in kinds]
            raise ValueError(
                f"'{operator}' cannot be asked of '{self.column}', which is a {kind}; "
                f"use one of {', '.join(fitting)}"
            )
        if operator in ("is_known", "within_days", "within_next_days"):
            return
        kind = TEXT if kind == LIST else kind
        for item in value if isinstance(value, list | tuple) else [value]:
            if not _fits(item, kind):
                raise ValueError(
                    f"{item!r} is not a {kind}, as '{self.column}' holds"
                    + (
                        "; put the word in quotes, YAML reads it as something else"
                        if kind == TEXT
                        else ""
                    )
                )
        if operator == "between":
            try:
                is_reversed = value[0] > value[1]
            except TypeError:
                raise ValueError(
                    f"{value[0]} and {value[1]} cannot be compared; write two days, or two times "
                    "that both have an offset or both have none"
                ) from None
            if is_reversed:
                raise ValueError(f"between {value[0]} and {value[1]} there is nothing; swap them")


def _fits(value: Value, kind: str) -> bool:
    if kind == BOOLEAN:
        return isinstance(value, bool)
    if kind == NUMBER:
        return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    if kind == DATE:
        return isinstance(value, date)
    return isinstance(value, str)


class Segment(ConfigModel):
    """One group of customers, as its owner declares it."""

    name: Word
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    owner: str = Field(min_length=1, description="Team or role that answers for it.")
    purpose: str = Field(description="Why it exists; a key of config/purposes.yml.")
    channel: str | None = Field(
        default=None,
        description="Channel it is meant for; without one, any permitted channel is enough.",
    )
    condition: Condition

    @field_validator("title", "description", "owner")
    @classmethod
    def _names_no_address(cls, text: str) -> str:
        if "@" in text:
            raise ValueError("holds an @; it is published, so name a team or role, no address")
        return text

    @field_validator("purpose")
    @classmethod
    def _purpose_exists(cls, purpose: str) -> str:
        return _one_of(purpose, _CATALOGUE.get().channels, "purpose named")

    @field_validator("channel")
    @classmethod
    def _channel_belongs_to_the_purpose(
        cls, channel: str | None, others: ValidationInfo
    ) -> str | None:
        purpose = others.data.get("purpose")
        if channel is None or purpose is None:
            return channel
        return _one_of(
            channel, _CATALOGUE.get().channels[purpose], f"channel of purpose {purpose} named"
        )


class SegmentFile(ConfigModel):
    """One file of config/segments/."""

    segments: list[Segment] = Field(min_length=1)

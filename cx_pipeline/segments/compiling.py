"""Turns a segment's condition into SQL without ever pasting a string.

Reads:     customer_360.customers, customer_360.customer_profiles, journey.touchpoints,
           journey.orders, experience.cases, experience.feedback, consent.permissions,
           consent.purposes (by name)
Keeps out: the language (`conditions`), running the query (`memberships`)

Columns and tables are nodes of a sqlglot tree, taken from the catalogue; every value that a
file holds is a prepared parameter.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from cx_pipeline.segments.conditions import Condition, RfmScores, Segment

_TABLES = {
    "touchpoint": ("journey", "touchpoints"),
    "order": ("journey", "orders"),
    "case": ("experience", "cases"),
    "feedback": ("experience", "feedback"),
}
_SCORED_COLUMNS = {
    "recency": ("days_since_last_order", True),
    "frequency": ("order_count", False),
    "monetary": ("order_amount", False),
}
"""What each RFM score ranks, and whether a high value is the worst."""
RFM_SCORES = "rfm_scores"
"""Temporary table of `compile_scores`, which the queries of segments with RFM scores read."""
_COMPARISONS = {
    "at_least": exp.GTE,
    "at_most": exp.LTE,
    "more_than": exp.GT,
    "less_than": exp.LT,
}


@dataclass
class Query:
    """SQL with its prepared parameters: one row per customer of the segment."""

    sql: str
    parameters: dict[str, Any]
    reads_scores: bool
    """Whether it reads the table `RFM_SCORES`."""


@dataclass
class _Compiler:
    parameters: dict[str, Any] = field(default_factory=dict)
    reads_scores: bool = False
    reads_watched: bool = False

    def value(self, value: Any) -> exp.Expression:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = value
        return exp.Placeholder(this=name)

    def one_or_more(self, column: exp.Expression, value: Any) -> exp.Expression:
        if isinstance(value, list):
            return exp.In(this=column, expressions=[self.value(item) for item in value])
        return exp.EQ(this=column, expression=self.value(value))

    def condition(self, condition: Condition) -> exp.Expression:
        kind = condition.kind
        if kind in ("all", "any", "none"):
            parts = [self.condition(part) for part in getattr(condition, kind)]
            joined = exp.and_(*parts) if kind == "all" else exp.or_(*parts)
            return exp.not_(exp.paren(joined)) if kind == "none" else exp.paren(joined)
        if kind == "column":
            return self.column(str(condition.column), *condition.operator)
        if condition.rfm is not None:
            return self.rfm(condition.rfm)
        return self.journey(kind, getattr(condition, kind))

    def column(self, name: str, operator: str, value: Any) -> exp.Expression:
        column = _column(name, "customers")
        if operator == "is_known":
            known = exp.not_(exp.Is(this=column, expression=exp.null()))
            return known if value else exp.not_(known)
        if operator in ("is_not", "not_in"):
            return exp.not_(_certain(self.one_or_more(column, value)))
        if operator in ("is", "in"):
            return _certain(self.one_or_more(column, value))
        if operator == "contains":
            return _certain(exp.func("list_contains", column, self.value(value)))
        if operator == "between":
            low, high = value
            return _certain(exp.Between(this=column, low=self.value(low), high=self.value(high)))
        if operator == "within_days":
            return _certain(self.between_days(column, -value, 0))
        if operator == "within_next_days":
            return _certain(self.between_days(column, 0, value))
        return _certain(_COMPARISONS[operator](this=column, expression=self.value(value)))

    def rfm(self, scores: RfmScores) -> exp.Expression:
        chosen = {name: wanted for name in _SCORED_COLUMNS if (wanted := getattr(scores, name))}
        self.reads_scores = True
        return exp.paren(
            exp.and_(
                *(
                    _certain(self.one_or_more(_column(name, RFM_SCORES), wanted))
                    for name, wanted in chosen.items()
                )
            )
        )

    def between_days(self, column: exp.Expression, after: int, until: int) -> exp.Expression:
        """Return whether a day is later than `after` and no later than `until`.

        Both count from the last day of data.
        """
        day, as_of = exp.cast(column, "date"), _column("as_of_date", "as_of")
        first, last = (
            exp.paren(exp.Add(this=as_of.copy(), expression=exp.cast(self.value(n), "integer")))
            for n in (after, until)
        )
        return exp.paren(
            exp.and_(exp.GT(this=day, expression=first), exp.LTE(this=day.copy(), expression=last))
        )

    def journey(self, kind: str, chosen: Any) -> exp.Expression:
        """Return whether the customer has so many rows of a table, over all their profiles."""
        schema, table = _TABLES[kind]
        conditions = [
            self.one_or_more(_column(column, table), value)
            for column, value in chosen.filters().items()
        ]
        if chosen.within_days is not None:
            day = _column("event_date", table)
            conditions.append(self.between_days(day, -chosen.within_days, 0))
        lowest = 1 if chosen.at_least is None and chosen.at_most is None else chosen.at_least or 0
        parts: list[exp.Expression] = []
        if lowest > 0:
            parts.append(self.counted(schema, table, conditions, exp.GTE, lowest))
        if chosen.at_most is not None:
            parts.append(exp.not_(self.counted(schema, table, conditions, exp.GT, chosen.at_most)))
        self.reads_watched = self.reads_watched or kind == "touchpoint"
        return exp.paren(exp.and_(*parts)) if parts else exp.true()

    def counted(
        self,
        schema: str,
        table: str,
        conditions: list[exp.Expression],
        comparison: type[exp.Binary],
        count: int,
    ) -> exp.Expression:
        customer_id = _column("customer_id", "customer_profiles")
        rows = (
            exp.select(customer_id)
            .from_(_table(schema, table))
            .join(
                _table("customer_360", "customer_profiles"),
                on=exp.EQ(
                    this=_column("profile_key", table),
                    expression=_column("profile_key", "customer_profiles"),
                ),
                join_type="inner",
            )
            .join(_table("journey", "as_of"), join_type="cross")
            .where(*(condition.copy() for condition in conditions))
        )
        # One row is enough to be among them.
        if (comparison, count) != (exp.GTE, 1):
            counted = comparison(this=exp.Count(this=exp.Star()), expression=self.value(count))
            rows = rows.group_by(customer_id.copy()).having(counted)
        return _certain(
            exp.In(this=_column("customer_id", "customers"), query=exp.Subquery(this=rows))
        )

    def permitted(self, purpose: str, channel: str | None) -> exp.Expression:
        """Return whether a customer of customer_360.customers may be treated for a purpose.

        As the macro permitted() says it, to which a test holds it: consent.permissions says yes, or
        the purpose needs no consent and a channel is left of which nothing was said.
        """

        def asked_for(table: str) -> list[exp.Expression]:
            chosen = {"purpose": purpose} | ({"channel": channel} if channel else {})
            return [
                exp.EQ(this=_column(column, table), expression=self.value(value))
                for column, value in chosen.items()
            ]

        count = exp.Count(this=exp.Star())
        customer_id = _column("customer_id", "permissions")
        said = exp.select(customer_id).from_(_table("consent", "permissions"))
        purposes = exp.select(count).from_(_table("consent", "purposes"))
        granted = said.where(*asked_for("permissions"), _column("is_permitted", "permissions"))
        free = purposes.where(
            *asked_for("purposes"), exp.not_(_column("requires_consent", "purposes"))
        )
        is_free = exp.GT(this=free.subquery(), expression=exp.Literal.number(0))
        channels = purposes.where(*asked_for("purposes"))
        # Counted for nothing where all of the purpose needs consent: half of a segment's time.
        said_of_all = (
            said.where(*asked_for("permissions"), is_free)
            .group_by(customer_id.copy())
            .having(exp.GTE(this=count.copy(), expression=channels.subquery()))
        )
        customer = _column("customer_id", "customers")
        return exp.paren(
            exp.or_(
                exp.In(this=customer, query=granted.subquery()),
                exp.and_(
                    is_free.copy(),
                    exp.not_(exp.In(this=customer.copy(), query=said_of_all.subquery())),
                ),
            )
        )


def _column(name: str, table: str) -> exp.Column:
    return exp.column(name, table=table, quoted=True)


def _table(schema: str, table: str) -> exp.Table:
    return exp.table_(table, db=schema, quoted=True)


def _certain(condition: exp.Expression) -> exp.Expression:
    """Make a comparison with a missing value false instead of unknown."""
    return exp.func("coalesce", exp.paren(condition), exp.false())


def _score(name: str) -> exp.Expression:
    """Return a score: 1 + floor(5 * share of the buyers with a worse value).

    By rank and not by ntile, so that equal values get equal scores: where nine of ten customers
    bought once, ntile would call some of them frequent by the accident of row order.
    """
    column, worst_is_high = _SCORED_COLUMNS[name]
    rank = exp.Window(
        this=exp.func("rank"),
        # A buyer without a value is the worst; by default null would come out the best.
        order=exp.Order(
            expressions=[
                exp.Ordered(this=_column(column, "customers"), desc=worst_is_high, nulls_first=True)
            ]
        ),
    )
    worse = exp.paren(exp.Sub(this=rank, expression=exp.Literal.number(1)))
    buyers = exp.Window(this=exp.Count(this=exp.Star()))
    share = exp.Div(this=exp.Mul(this=exp.Literal.number(5), expression=worse), expression=buyers)
    fifth = exp.Add(this=exp.Literal.number(1), expression=exp.func("floor", share))
    return fifth.as_(name, quoted=True)


def compile_scores() -> str:
    """Return the query of `RFM_SCORES`: one row per customer who bought, three scores of 1 to 5.

    A table of its own: ranked in each segment's query, 770,000 customers took five segments 5 s.
    """
    query = (
        exp.select(_column("customer_id", "customers"), *map(_score, _SCORED_COLUMNS))
        .from_(_table("customer_360", "customers"))
        .where(exp.GT(this=_column("order_count", "customers"), expression=exp.Literal.number(0)))
    )
    return query.sql(dialect="duckdb")


def compile_segment(segment: Segment) -> Query:
    """Return the query of a segment's customers, who are all permitted for its purpose.

    The gate is part of every segment's query, whatever the purpose: of one that needs no consent
    an objection makes a no. Who objects to analytics is in no segment that asks for touchpoints.
    """
    compiler = _Compiler()
    condition = compiler.condition(segment.condition)
    permitted = compiler.permitted(segment.purpose, segment.channel)
    query = (
        exp.select(_column("customer_id", "customers"))
        .from_(_table("customer_360", "customers"))
        .join(_table("journey", "as_of"), join_type="cross")
        .where(condition, permitted)
    )
    if compiler.reads_watched:
        # What was watched is not used of who objects to analytics, as customer 360 empties it;
        # inside the condition a `none` would make members of them.
        query = query.where(_certain(_column("is_analytics_permitted", "customers")))
    if compiler.reads_scores:
        query = query.join(
            exp.table_(RFM_SCORES, quoted=True),
            on=exp.EQ(
                this=_column("customer_id", "customers"),
                expression=_column("customer_id", RFM_SCORES),
            ),
            join_type="left",
        )
    return Query(query.sql(dialect="duckdb"), compiler.parameters, compiler.reads_scores)

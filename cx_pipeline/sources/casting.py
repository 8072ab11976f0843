"""From whatever type a mapping's expression has to the contract's type, and what went wrong.

Reads:     nothing; it writes SQL
Keeps out: where the rows come from (raw_views.py, table_queries.py)

A cast that fails gives an empty value and a problem, never an error: one bad value sets one row
aside. Casts that cannot fail are not checked.
"""

import re
from dataclasses import dataclass

from cx_pipeline.sources.binding import bracketed
from cx_pipeline.sources.config import ColumnMapping
from cx_pipeline.sources.contract import Column
from cx_pipeline.warehouse.sql import quoted, text_literal

MAY_LIE_AHEAD = {"expires_at"}
"""Times that are plans. Every other time is a fact, and no fact lies in the future."""

FACT_DATES = {"report_date"}
"""Dates that are facts; most dates of the contract are promises or terms."""

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_WIDE = ("HUGEINT", "UHUGEINT", "UBIGINT")
_FLOATING = ("DOUBLE", "FLOAT")
# What exports leave around a value; DuckDB's own trim knows blanks alone, but all of Unicode's.
_BLANKS = " \t\n\r"
# BigQuery writes `2026-01-02 10:00:00 UTC`.
_OFFSET = r":[0-9.]+ *([Zz]|UTC|[+-][0-9]{2}:?([0-9]{2})?)$"
# 0.500 is no 500: a thousands group never begins with 0.
_DECIMAL_COMMA = r"[+-]?([0-9]+|[1-9][0-9]{0,2}([. ][0-9]{3})+)(,[0-9]+)?"


class NotConvertibleError(ValueError):
    """An expression's type cannot become the contract's; says what to write instead."""


@dataclass(frozen=True)
class Cast:
    """How one column of the contract is made from its expression.

    `given` is evaluated over the raw rows and named `given_name`; `clean` over that, under the
    same name; `typed` over the clean one. So each is evaluated once.
    """

    column: Column
    given: str
    clean: str
    typed: str
    can_fail: bool

    @property
    def given_name(self) -> str:
        """Name of the column that holds the expression's value."""
        return given_name(self.column)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Conditions under which the row is set aside, each with its reason."""
        name, given, typed = self.column.name, quoted(self.given_name), quoted(self.column.name)
        found = []
        if self.column.is_required:
            found.append((f"{given} is null", f"{name}: is empty"))
        if self.can_fail:
            reason = f"{name}: not a valid {self.column.data_type}"
            found.append((f"{typed} is null and {given} is not null", reason))
        is_fact = self.column.data_type == "timestamp" and name not in MAY_LIE_AHEAD
        if self.column.data_type in ("timestamp", "date"):
            # 31.01.26 is read as a day of the year 26, which no format with %Y refuses.
            found.append((f"{typed} < '1000-01-01'", f"{name}: its year has not four digits"))
            found.append((f"not isfinite({typed})", f"{name}: not a valid {self.column.data_type}"))
        if is_fact or name in FACT_DATES:
            found.append((f"{typed} > _loaded_at + interval 1 day", f"{name}: in the future"))
        return found


def given_name(column: Column) -> str:
    """Return the name under which an expression's value is kept beside the typed one.

    It holds a blank, so that no expression can mean it by accident.
    """
    return f"given {column.name}"


def cast_column(column: Column, mapping: ColumnMapping, given_type: str, time_zone: str) -> Cast:
    """Return how an expression of a known type becomes a column of the contract.

    Args:
        column: The contract's column.
        mapping: Expression, and how to read it where it is text.
        given_type: DuckDB's type of the expression.
        time_zone: IANA zone of times without an offset.

    Raises:
        NotConvertibleError: No value of the type could be one of the contract's.
    """
    expression, kind = bracketed(mapping.expression), given_type.upper()
    if kind == "JSON":
        expression, kind = f"({expression} ->> '$')", "VARCHAR"
    elif not _is_known(kind):
        expression, kind = as_text(expression, kind), "VARCHAR"
    given = quoted(given_name(column))
    clean = given
    if kind == "VARCHAR" and column.data_category == "user.content":
        clean = f"nullif({given}, '')"
    elif kind == "VARCHAR":
        # A million trims cost 0.2 s of processor, looking for the blanks first a tenth of it.
        has_blanks = " or ".join(
            [f"{given} < '!'", *(f"ends_with({given}, '{blank}')" for blank in _BLANKS)]
        )
        trimmed = f"trim(trim({given}), {text_literal(_BLANKS)})"
        clean = f"nullif(case when {has_blanks} then {trimmed} else {given} end, '')"
    if kind == '"NULL"':
        return Cast(column, expression, clean, f"null::{column.data_type}", can_fail=False)
    target = column.data_type.split("(")[0]
    typed, can_fail = {
        "varchar": _to_text,
        "timestamp": _to_timestamp,
        "date": _to_date,
        "decimal": _to_decimal,
        "double": _to_double,
        "bigint": _to_bigint,
        "boolean": _to_boolean,
    }[target](given, kind, mapping, column, time_zone)
    return Cast(column, expression, clean, typed, can_fail)


def _is_known(kind: str) -> bool:
    return (
        kind in (*_WHOLE, *_WIDE, *_FLOATING, "VARCHAR", "BOOLEAN", "DATE", '"NULL"')
        or kind.startswith("DECIMAL")
        or kind.startswith("TIMESTAMP")
    )


def _is_number(kind: str) -> bool:
    return kind in (*_WHOLE, *_WIDE, *_FLOATING) or kind.startswith("DECIMAL")


def _refuse(kind: str, column: Column, remedy: str) -> NotConvertibleError:
    return NotConvertibleError(f"gives {kind}, but the column is {column.data_type}; {remedy}")


def _to_text(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    return (given if kind == "VARCHAR" else as_text(given, kind)), False


def as_text(value: str, kind: str) -> str:
    """Return a value as text; a whole number without a fraction, whatever its type.

    Key 101 of one export is 101.0 in the next, when pandas found an empty value in the column.
    Bytes are UTF-8, or hexadecimal where they are none, such as a uuid of 16 bytes.
    """
    if kind == "BLOB":
        return f"coalesce(try(decode({value})), lower(hex({value})))"
    if kind in _FLOATING or kind.startswith("DECIMAL"):
        whole = f"try_cast({value} as hugeint)"
        return f"case when {value} = {whole} then {whole}::varchar else {value}::varchar end"
    return f"{value}::varchar"


def _to_timestamp(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    if mapping.epoch and (_is_number(kind) or kind == "VARCHAR"):
        factor = 1_000_000 if mapping.epoch == "seconds" else 1_000
        micros = f"try_cast(try_cast({given} as decimal(28, 6)) * {factor} as bigint)"
        return f"try(make_timestamp({micros}))", True
    if kind == "VARCHAR" and mapping.format:
        return _first_of([_parsed(given, form, zone) for form in mapping.format]), True
    if kind == "VARCHAR":
        with_offset = f"make_timestamp(epoch_us(try_cast({given} as timestamptz)))"
        as_written = _in_utc(f"try_cast({given} as timestamp)", zone)
        # `2026-01-31 10:00:00` has none, and is what nearly every time looks like.
        may_have_offset = f"(length({given}) <> 19 or {given}[17:17] <> ':')"
        has_offset = f"{may_have_offset} and regexp_matches({given}, {text_literal(_OFFSET)})"
        return f"case when {has_offset} then {with_offset} else {as_written} end", True
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({given}))", False
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return _in_utc(f"{given}::timestamp", zone), False
    raise _refuse(kind, column, "for a number since 1970 add epoch: seconds or milliseconds.")


def _parsed(given: str, form: str, zone: str) -> str:
    """Return a time that is read by its strptime format, in UTC."""
    parsed = f"try_strptime({given}, {text_literal(form)})"
    return f"make_timestamp(epoch_us({parsed}))" if _has_zone(form) else _in_utc(parsed, zone)


def _has_zone(form: str) -> bool:
    """Whether a strptime format reads an offset or the name of a zone: DuckDB gives TIMESTAMPTZ."""
    return re.search("%[zZ]", form.replace("%%", "")) is not None


def _in_utc(local: str, zone: str) -> str:
    """Return a local time in UTC.

    Microseconds since 1970, because a cast of TIMESTAMPTZ would go through the session's zone.
    """
    if zone in ("UTC", "Etc/UTC"):
        return local
    return f"make_timestamp(epoch_us(timezone({text_literal(zone)}, {local})))"


def _to_date(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    there = text_literal(zone)
    if kind == "VARCHAR" and mapping.format:
        parsed = {form: f"try_strptime({given}, {text_literal(form)})" for form in mapping.format}
        days = [
            f"timezone({there}, {time})::date" if _has_zone(form) else f"{time}::date"
            for form, time in parsed.items()
        ]
        return _first_of(days), True
    if kind == "VARCHAR":
        with_offset = f"timezone({there}, try_cast({given} as timestamptz))::date"
        # A cast to a date would pass over whatever stands behind it.
        as_written = f"try_cast({given} as timestamp)::date"
        has_offset = f"regexp_matches({given}, {text_literal(_OFFSET)})"
        return (
            f"case when length({given}) <= 10 then try_cast({given} as date) "
            f"when {has_offset} then {with_offset} else {as_written} end",
            True,
        )
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timezone({there}, {given})::date", False
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return f"{given}::date", False
    raise _refuse(kind, column, "make it a date in the expression, such as make_date(y, m, d).")


def _number_text(given: str, mapping: ColumnMapping) -> str:
    """Return number text with a decimal point.

    `12.50` in a file with decimal commas is not 1250: what does not look like one is no number.
    """
    if mapping.decimal == ".":
        # DuckDB takes 12_50 for 1250.
        return f"case when not contains({given}, '_') then {given} end"
    plain = f"replace(replace(replace({given}, '.', ''), ' ', ''), ',', '.')"
    return f"case when regexp_full_match({given}, {text_literal(_DECIMAL_COMMA)}) then {plain} end"


def _to_decimal(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    if kind == "VARCHAR":
        return f"try_cast({_number_text(given, mapping)} as {column.data_type})", True
    if _is_number(kind):
        return f"try_cast({given} as {column.data_type})", kind not in _WHOLE
    raise _refuse(kind, column, "the expression must give a number.")


def _to_double(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    if kind == "VARCHAR" or kind in _FLOATING:
        text = _number_text(given, mapping) if kind == "VARCHAR" else given
        number = f"try_cast({text} as double)"
        return f"case when isfinite({number}) then {number} end", True
    if _is_number(kind):
        return f"{given}::double", False
    raise _refuse(kind, column, "the expression must give a number.")


def _to_bigint(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    if kind in _WHOLE:
        return f"{given}::bigint", False
    if kind == "VARCHAR" or _is_number(kind):
        text = _number_text(given, mapping) if kind == "VARCHAR" else given
        # DuckDB would round 3.7 to 4 without a word.
        return (
            f"case when try_cast({text} as double) = trunc(try_cast({text} as double)) "
            f"then try_cast({text} as bigint) end",
            True,
        )
    raise _refuse(kind, column, "the expression must give a whole number.")


def _to_boolean(
    given: str, kind: str, mapping: ColumnMapping, column: Column, zone: str
) -> tuple[str, bool]:
    if kind == "BOOLEAN":
        return given, False
    if kind == "VARCHAR":
        return f"try_cast({given} as boolean)", True
    if _is_number(kind):
        return f"case when {given} in (0, 1) then {given} = 1 end", True
    raise _refuse(kind, column, "the expression must give true or false.")


def _first_of(times: list[str]) -> str:
    """Return the first time or date that a format gives, with a year of four digits if one does."""
    if len(times) == 1:
        return times[0]
    plausible = [f"case when {time} >= '1000-01-01' then {time} end" for time in times]
    return f"coalesce({', '.join([*plausible, *times])})"


def is_risky(expression: str) -> bool:
    """Whether an expression may raise an error on some row, so is worth trying on the rows."""
    return re.search(_RISKY, expression, re.IGNORECASE) is not None


_RISKY = (
    r"::(?!\s*(varchar|text)\b)|(?<!try_)\bcast\s*\(|(?<!try_)\bstrptime\s*\(|\bmake_|\berror\s*\("
    r"|\bto_timestamp\s*\(|->|\bjson"
)

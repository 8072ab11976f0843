"""Translates SQL of DuckDB's dialect to Spark's, where the two say things differently.

Reads:     one statement that dbt sends, and the columns of the tables that it names
Keeps out: what no translator can know, which is behind dispatch in dbt_project/macros/engine

`sqlglot` knows most of it. What stands here is where its translation gives another result: Spark
divides decimals as decimals, rounds doubles by their shortest decimal form, and takes the null of
the newest row for `arg_max` where DuckDB passes over it.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import sqlglot
from sqlglot import exp

ColumnsOf = Callable[[str], list[str]]
"""Returns the column names of the table `<room>.<name>`."""

_QUERY_COMMENT = re.compile(r"\A\s*/\*.*?\*/\s*", re.DOTALL)
_HEADER = re.compile(
    r"\A\s*(create\s+table\s+\S+\s+using\s+\w+\s+location\s+'(?:[^'\\]|\\.)*'\s+as|"
    r"create\s+or\s+replace\s+temporary\s+view\s+\S+\s+as)\s",
    re.IGNORECASE,
)
_QUERY = re.compile(
    r"\A\s*(--[^\n]*\n\s*|/\*.*?\*/\s*)*(select\b|with\b|from\b|values\b|\()",
    re.IGNORECASE | re.DOTALL,
)
_QUALIFIES = "_qualifies"
_PLACE = re.compile(r"\{(?::([^}]*))?\}")


class TranslationError(ValueError):
    """A statement is not DuckDB SQL, or names what cannot be resolved."""


def translate(statement: str, columns_of: ColumnsOf) -> str:
    """Return a statement as Spark runs it; what is no query passes as it is.

    Args:
        statement: A query, or `create table ... using ... location ... as` a query.
        columns_of: Tells the columns of a table, for `union all by name`.

    Raises:
        TranslationError: The query does not parse as DuckDB SQL.
    """
    statement = _QUERY_COMMENT.sub("", statement).strip().rstrip(";")
    header = _HEADER.match(statement)
    body = statement[header.end() :] if header else statement
    if not header and not _QUERY.match(statement):
        return statement
    try:
        tree = _parsed(body).copy()
    except sqlglot.errors.SqlglotError as error:
        raise TranslationError(f"not translated for Spark: {error}\n{body}") from None
    tree = _as_spark(_with_unique_names(_qualified(_aligned(tree, columns_of))))
    translated = tree.sql(dialect="spark", identify=True, comments=False, pretty=True)
    return f"{header.group(0).strip()}\n{translated}" if header else translated


@lru_cache(maxsize=64)
def _parsed(query: str) -> exp.Expression:
    return sqlglot.parse_one(query, dialect="duckdb")


def _function(name: str, *arguments: exp.Expression | str | int) -> exp.Anonymous:
    return exp.Anonymous(
        this=name,
        expressions=[
            argument if isinstance(argument, exp.Expression) else exp.convert(argument)
            for argument in arguments
        ],
    )


def _double(value: exp.Expression) -> exp.Expression:
    return exp.Cast(this=value, to=exp.DataType.build("double"))


def _instant(value: exp.Expression) -> exp.Expression:
    """Return a timestamp without a zone as the one with a zone that Spark's unix_* take."""
    return exp.Cast(this=value, to=exp.DataType.build("timestamptz"))


def _as_spark(tree: exp.Expression) -> exp.Expression:
    """Apply the rules from the leaves up: what stands inside a rule's result is translated."""
    holder = exp.Paren(this=tree)
    for node in reversed(list(tree.bfs())):
        rule = _RULES.get(type(node))
        if rule is not None:
            translated = rule(node)
            if translated is not node:
                node.replace(translated)
    return holder.this


def _anonymous(node: exp.Anonymous) -> exp.Expression:
    name, arguments = str(node.this).lower(), node.expressions
    if name == "row":
        return _function("struct", *arguments)
    if name == "hash":
        return _function("xxhash64", *arguments)
    if name == "epoch_us":
        return _function("unix_micros", _instant(arguments[0]))
    return node


def _full_match(node: exp.RegexpFullMatch) -> exp.Expression:
    options = node.args.get("options")
    flags = "(?iu)" if options is not None and "i" in options.name else ""
    # `$` would match before a last line feed too.
    whole = exp.Literal.string(rf"{flags}\A(?:{node.expression.name})\z")
    return _function("rlike", node.this, whole)


def _by(name: str) -> Callable[[exp.Expression], exp.Expression]:
    def translated(node: exp.Expression) -> exp.Expression:
        value, order = node.this, node.expression
        is_known = exp.Not(this=exp.Is(this=value.copy(), expression=exp.null()))
        return _function(name, value, exp.case().when(is_known, order))

    return translated


def _divided(node: exp.Div) -> exp.Expression:
    return exp.Div(this=_double(node.this), expression=_double(node.expression), typed=True)


def _rounded(node: exp.Round) -> exp.Expression:
    """Return DuckDB's `round` of a double: half away from zero, judged on the scaled double."""
    digits = node.args.get("decimals")
    scale = _double(exp.Literal.number(10 ** int(digits.name))) if digits else None
    value = _double(node.this)
    scaled = exp.Mul(this=value, expression=scale.copy()) if scale else value
    half = _double(exp.Literal.number("0.5"))
    magnitude = _function("floor", exp.Add(this=_function("abs", scaled), expression=half))
    whole = exp.Mul(this=_function("sign", value.copy()), expression=_double(magnitude))
    return exp.paren(exp.Div(this=whole, expression=scale, typed=True)) if scale else whole


def _date_difference(node: exp.DateDiff) -> exp.Expression:
    unit = str(node.args["unit"]).strip("'").lower()
    if unit == "second":
        # Whole seconds of each, not of what lies between them.
        ends = [_function("unix_seconds", _instant(end)) for end in (node.this, node.expression)]
        return exp.paren(exp.Sub(this=ends[0], expression=ends[1]))
    if unit == "day":
        return exp.cast(_function("datediff", node.this, node.expression), "bigint")
    if unit == "month":
        return exp.paren(
            exp.Sub(this=_month_number(node.this), expression=_month_number(node.expression))
        )
    raise TranslationError(f"date_diff('{unit}', ...) is not translated for Spark")


def _month_number(day: exp.Expression) -> exp.Expression:
    year, month = _function("year", day), _function("month", day.copy())
    return exp.paren(exp.Add(this=exp.Mul(this=year, expression=exp.convert(12)), expression=month))


def _trimmed(node: exp.Trim) -> exp.Expression:
    """Return what lies between Unicode's blanks, as DuckDB takes them; Spark's `trim` knows one."""
    if node.expression or node.args.get("position"):
        raise TranslationError(f"{node.sql('duckdb')} is not translated for Spark")
    return _function("regexp_replace", node.this, r"\A\p{Zs}+|\p{Zs}+\z", "")


def _shifted(name: str) -> Callable[[exp.Expression], exp.Expression]:
    return lambda node: _function(name, node.this, exp.cast(node.expression, "int"))


def _replaced(node: exp.RegexpReplace) -> exp.Expression:
    replacement = node.args["replacement"]
    text = re.sub(r"\\(\d)", r"$\1", replacement.name)
    return _function("regexp_replace", node.this, node.expression, exp.Literal.string(text))


def _formatted(node: exp.Format) -> exp.Expression:
    """Turn `{}` and `{:.1f}` into what printf knows; the template may be pasted from literals."""
    template = node.this
    for literal in template.find_all(exp.Literal):
        text = literal.name.replace("%", "%%")
        literal.set("this", _PLACE.sub(lambda found: f"%{found[1] or 's'}", text))
    return node


def _plain_with(node: exp.CTE) -> exp.CTE:
    node.set("materialized", None)
    return node


_RULES: Mapping[type[exp.Expression], Callable[..., exp.Expression]] = {
    exp.Anonymous: _anonymous,
    exp.ArgMax: _by("max_by"),
    exp.ArgMin: _by("min_by"),
    exp.Avg: lambda node: exp.Avg(this=_double(node.this)),
    exp.BitwiseLeftShift: _shifted("shiftleft"),
    exp.BitwiseRightShift: _shifted("shiftright"),
    exp.CTE: _plain_with,
    exp.DateDiff: _date_difference,
    exp.Div: _divided,
    exp.Format: _formatted,
    exp.RegexpFullMatch: _full_match,
    exp.RegexpReplace: _replaced,
    exp.Round: _rounded,
    exp.Trim: _trimmed,
    exp.ToDays: lambda node: _function("make_dt_interval", exp.cast(node.this, "int")),
    exp.UnixToTime: lambda node: _function("unix_millis", _instant(node.this)),
}


def _aligned(tree: exp.Expression, columns_of: ColumnsOf) -> exp.Expression:
    """Give both sides of each `union by name` the same columns in the same order."""
    resolver = _Columns(columns_of)
    for union in list(tree.find_all(exp.SetOperation, bfs=False))[::-1]:
        if union.args.get("by_name"):
            names = resolver.of(union)
            union.set("this", resolver.selecting(union.left, names))
            union.set("expression", resolver.selecting(union.right, names))
            union.set("by_name", False)
    return tree


def _qualified(tree: exp.Expression) -> exp.Expression:
    """Turn `qualify` into a filter around the query, without a column more for `select *`."""
    holder = exp.Paren(this=tree)
    for select in [found for found in tree.find_all(exp.Select) if found.args.get("qualify")]:
        outer = exp.Select(
            expressions=[exp.Star(except_=[exp.to_identifier(_QUALIFIES)])],
            where=exp.Where(this=exp.column(_QUALIFIES)),
            with_=select.args["with_"].pop() if select.args.get("with_") else None,
        )
        condition = select.args["qualify"].pop().this
        select.replace(outer)
        select.append("expressions", exp.alias_(condition, _QUALIFIES))
        alias = exp.TableAlias(this=exp.to_identifier("with_windows"))
        outer.set("from_", exp.From(this=exp.Subquery(this=select, alias=alias)))
    return holder.this


def _with_unique_names(tree: exp.Expression) -> exp.Expression:
    """Number the names in nested `with`s: they move to the top, and a macro's may stand twice."""
    nested = [found for found in tree.find_all(exp.With) if found.parent is not tree]
    for number, named in enumerate(nested, start=1):
        for cte in named.expressions:
            old = cte.alias
            for table in named.parent.find_all(exp.Table):
                if not table.db and table.name.lower() == old.lower():
                    if not table.alias:
                        table.set("alias", exp.TableAlias(this=exp.to_identifier(old)))
                    table.set("this", exp.to_identifier(f"{old}_{number}"))
            cte.args["alias"].set("this", exp.to_identifier(f"{old}_{number}"))
    return tree


class _Columns:
    """Works out the names of the columns that a query returns."""

    def __init__(self, columns_of: ColumnsOf) -> None:
        self.columns_of = columns_of
        # The query itself is kept with its columns: the id of one that is gone may come again.
        self.known: dict[int, tuple[exp.Expression, list[str]]] = {}

    def of(self, query: exp.Expression) -> list[str]:
        """Return the columns of a select, a set operation, a subquery or a table."""
        if id(query) not in self.known:
            self.known[id(query)] = (query, self._work_out(query))
        return self.known[id(query)][1]

    def _work_out(self, query: exp.Expression) -> list[str]:
        if isinstance(query, exp.Subquery):
            named = query.args["alias"].columns if query.args.get("alias") else []
            return [column.name for column in named] or self.of(query.this)
        if isinstance(query, exp.SetOperation):
            names = list(self.of(query.left))
            if query.args.get("by_name"):
                there = {name.lower() for name in names}
                names += [name for name in self.of(query.right) if name.lower() not in there]
            return names
        if isinstance(query, exp.Table):
            return self._of_table(query)
        if isinstance(query, exp.Select):
            return [name for item in query.expressions for name in self._of_item(item, query)]
        raise TranslationError(f"the columns of {query.sql('duckdb')} are not known")

    def _of_table(self, table: exp.Table) -> list[str]:
        if not table.db:
            scope = table.parent
            while scope is not None:
                ctes = scope.args.get("with_") or scope.args.get("with")
                for cte in ctes.expressions if ctes else []:
                    if cte.alias_or_name.lower() == table.name.lower():
                        return self.of(cte.this)
                scope = scope.parent
        return self.columns_of(".".join(part.name for part in table.parts))

    def _of_item(self, item: exp.Expression, select: exp.Select) -> list[str]:
        star = item if isinstance(item, exp.Star) else item.this if item.is_star else None
        if not isinstance(star, exp.Star):
            return [item.alias_or_name]
        qualifier = item.table if isinstance(item, exp.Column) else ""
        left_out = {column.name.lower() for column in star.args.get("except_") or []}
        names: list[str] = []
        for source in self._sources(select):
            if qualifier.lower() in ("", source.alias_or_name.lower()):
                names += [name for name in self.of(source) if name.lower() not in left_out]
        return names

    def _sources(self, select: exp.Select) -> Iterable[exp.Expression]:
        first = select.args.get("from_") or select.args.get("from")
        if first:
            yield first.this
        for join in select.args.get("joins") or []:
            if str(join.kind).upper() not in ("SEMI", "ANTI"):
                yield join.this

    def selecting(self, query: exp.Expression, names: list[str]) -> exp.Expression:
        """Return a query over `query` with exactly these columns; what it lacks is null."""
        own = {name.lower() for name in self.of(query)}
        columns = [
            exp.column(name) if name.lower() in own else exp.alias_(exp.null(), name)
            for name in names
        ]
        if self.of(query) == names:
            return query
        inner = exp.select(*columns).from_(
            exp.Subquery(
                this=query.copy(), alias=exp.TableAlias(this=exp.to_identifier("one_side"))
            )
        )
        self.known[id(inner)] = (inner, names)
        return inner

"""What the translation to Spark says where sqlglot's own would give another result."""

import pytest

from cx_pipeline.warehouse.engine.spark_sql import TranslationError, translate

COLUMNS = {"room.a": ["x", "y"], "room.b": ["y", "z"]}


def spark(query: str) -> str:
    return " ".join(translate(query, COLUMNS.__getitem__).split())


@pytest.mark.parametrize(
    ("duckdb", "expected"),
    [
        ("a / b", "CAST(`a` AS DOUBLE) / CAST(`b` AS DOUBLE)"),
        ("avg(a)", "AVG(CAST(`a` AS DOUBLE))"),
        ("arg_max(a, b)", "MAX_BY(`a`, CASE WHEN NOT `a` IS NULL THEN `b` END)"),
        (
            "date_diff('second', a, b)",
            "( UNIX_SECONDS(CAST(`b` AS TIMESTAMP)) - UNIX_SECONDS(CAST(`a` AS TIMESTAMP)) )",
        ),
        (
            "(epoch_us(b) - epoch_us(a)) // 1000000",
            "( UNIX_MICROS(CAST(`b` AS TIMESTAMP)) - UNIX_MICROS(CAST(`a` AS TIMESTAMP)) ) "
            "DIV 1000000",
        ),
        ("date_diff('day', a, b)", "CAST(DATEDIFF(`b`, `a`) AS BIGINT)"),
        (r"regexp_full_match(a, 'x\s|y', 'i')", r"RLIKE(`a`, '(?iu)\\A(?:x\\s|y)\\z')"),
        (r"regexp_replace(a, '([0-9])', '0\1', 'g')", "REGEXP_REPLACE(`a`, '([0-9])', '0$1')"),
        ("format('{} of {:.1f}%', a, b)", "FORMAT_STRING('%s of %.1f%%', `a`, `b`)"),
        ("row(a, b)", "STRUCT(`a`, `b`)"),
        ("hash(a)", "XXHASH64(`a`)"),
        ("1 << a", "SHIFTLEFT(1, CAST(`a` AS INT))"),
        ("to_days(a)", "MAKE_DT_INTERVAL(CAST(`a` AS INT))"),
        ("cast(a as timestamp)", "CAST(`a` AS TIMESTAMP_NTZ)"),
        ("cast(a as uuid)", "CAST(`a` AS STRING)"),
    ],
)
def test_an_expression_means_the_same_on_spark(duckdb, expected):
    assert spark(f"select {duckdb} as c") == f"SELECT {expected} AS `c`"


def test_what_stands_inside_a_translated_expression_is_translated_too():
    assert "CAST(`a` AS DOUBLE) / CAST(`b` AS DOUBLE)" in spark("select avg(a / b) as c")


def test_a_union_by_name_has_every_column_on_both_sides():
    assert spark("select * from room.a union all by name select * exclude (y) from room.b") == (
        "SELECT `x`, `y`, NULL AS `z` FROM ( SELECT * FROM `room`.`a` ) AS `one_side` UNION ALL "
        "SELECT NULL AS `x`, NULL AS `y`, `z` FROM ( SELECT * EXCEPT (`y`) FROM `room`.`b` ) AS "
        "`one_side`"
    )


def test_qualify_leaves_no_column_behind():
    query = "select * from room.a qualify row_number() over (partition by x order by y) = 1"
    assert spark(query).startswith("SELECT * EXCEPT (`_qualifies`) FROM ( SELECT *, ROW_NUMBER()")


def test_names_of_nested_withs_do_not_meet():
    nested = "(with n as (select {} as x) select * from n)"
    query = f"with a as {nested.format(1)}, b as {nested.format(2)} select * from a, b"
    translated = spark(query)
    assert "`n_1`" in translated
    assert "`n_2`" in translated


def test_the_head_of_a_created_table_and_other_statements_pass_as_they_are():
    head = "create table a.b using parquet location '/x' as"
    assert spark(f"{head} select 1 as x,") == f"{head} SELECT 1 AS `x`"
    assert translate("drop table if exists a.b", COLUMNS.__getitem__) == "drop table if exists a.b"


def test_what_is_no_sql_is_refused():
    with pytest.raises(TranslationError, match="not translated for Spark"):
        translate("select from where", COLUMNS.__getitem__)

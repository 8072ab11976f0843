import re

import pytest

from cx_pipeline.segments.conditions import TouchpointFilter, kind_of
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.config_files import ConfigError
from cx_pipeline.warehouse.project import manifest_as_dict
from tests.segments.segment_house import read

HEAD = """\
segments:
  - name: somebody
    title: Somebody
    description: Somebody.
    owner: us
    purpose: marketing
    condition:
"""


@pytest.mark.parametrize(
    ("condition", "line", "reason"),
    [
        ("      {column: order_cuont, is: 1}", 8, 'did you mean "order_count"?'),
        ("      all:\n        - {column: contry, is: DK}", 9, 'did you mean "country"?'),
        ("      {column: country, equals: DK}", 8, '"equals" is not known here'),
        ("      {column: country, is: 1}", 7, "1 is not a text"),
        ("      {column: country, is: true}", 7, "put the word in quotes"),
        ("      {column: is_club_member, at_least: 1}", 7, "'at_least' cannot be asked"),
        ("      {column: channels, contains: 5}", 7, "5 is not a text"),
        ("      {column: channels, is: web}", 7, "is a list of texts; use one of contains"),
        ("      {column: order_count, within_next_days: 5}", 7, "cannot be asked of 'order_count'"),
        ("      {column: order_count, at_least: many}", 7, "'many' is not a number"),
        ("      {column: order_count, between: [5, 2]}", 7, "swap them"),
        (
            "      {column: last_order_date, between: [2026-01-01, 2026-02-01T10:00:00]}",
            7,
            "write two days",
        ),
        ("      {column: order_count}", 7, "needs exactly one of"),
        ("      {column: order_count, at_least: 1, at_most: 2}", 7, "at_least and at_most"),
        ("      {}", 7, "here is none of them"),
        ("      {any: []}", 8, "at least 1 item"),
        ("      {column: order_count, is: 1, order: {}}", 7, "column and order"),
        ("      {at_least: 2, order: {channel: web}}", 7, "put it inside 'order'"),
        ("      {order: {chanel: web}}", 8, 'did you mean "channel"?'),
        ("      {order: {at_least: 3, at_most: 2}}", 8, "is more than at_most"),
        ("      {touchpoint: {within_days: 0}}", 8, "greater than 0"),
        ("      {touchpoint: {type: orders}}", 8, "it is one of order, delivery, return"),
        ("      {touchpoint: {stage: [buy, bought]}}", 8, 'there is no "bought" here'),
        ("      {touchpoint: {direction: in}}", 8, "inbound, outbound"),
        ("      {feedback: {type: reviews}}", 8, "one of survey, review"),
        ("      {feedback: {metric: NPS}}", 8, "one of nps, csat"),
        ("      {feedback: {score: true}}", 8, "valid number"),
        ("      {feedback: {type: []}}", 8, "at least 1 item"),
        ("      {feedback: {nps_group: promoters}}", 8, "one of promoter"),
        ("      {rfm: {recency: [6]}}", 8, "less than or equal to 5"),
        ("      {rfm: {}}", 8, "name at least one"),
    ],
)
def test_a_wrong_condition_is_refused_with_file_line_and_remedy(
    tmp_path, monkeypatch, condition, line, reason
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, HEAD + condition + "\n")

    assert f"segments.yml line {line}: " in str(refused.value)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("purpose: marketing", "purpose: markting", 6, 'did you mean "marketing"?'),
        ("owner: us", "owner: us\n    chanel: email", 6, 'did you mean "channel"?'),
        ("owner: us", "owner: us\n    channel: web", 6, "no channel of purpose marketing"),
        ("name: somebody", "name: Some Body", 2, "match pattern"),
        ("    owner: us\n", "", 2, "is missing"),
        ("owner: us", "owner: anna@example.com", 5, "name a team or role"),
    ],
)
def test_a_wrong_head_is_refused_with_file_line_and_remedy(
    tmp_path, monkeypatch, old, new, line, reason
):
    monkeypatch.chdir(tmp_path)
    text = HEAD.replace(old, new) + "      {column: order_count, is: 1}\n"
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)

    assert f"segments.yml line {line}: " in str(refused.value)
    assert reason in str(refused.value)


def test_every_operator_and_kind_of_condition_is_understood(tmp_path):
    (segment,) = read(
        tmp_path,
        HEAD
        + """\
      all:
        - {column: country, in: [DK, "NO"]}
        - {column: last_order_date, between: [2026-01-01, 2026-12-31]}
        - {column: last_order_date, within_next_days: 30}
        - {column: order_amount, more_than: 12.5}
        - {column: channels, contains: web}
        - any:
            - {touchpoint: {type: web, event_name: [a, b], within_days: 3, at_least: 2}}
            - {feedback: {type: survey, metric: nps}}
        - none:
            - {case: {is_open: true}}
            - rfm: {recency: [1], monetary: [4, 5]}
""",
    )

    assert segment.condition.kind == "all"


@pytest.mark.parametrize(
    ("data_type", "kind"),
    [
        ("varchar", "text"),
        ("DECIMAL(18,2)", "number"),
        ("bigint", "number"),
        ("double", "number"),
        ("boolean", "yes or no"),
        ("date", "date"),
        ("timestamp", "date"),
        ("varchar[]", "list of texts"),
        ("interval", "text"),
    ],
)
def test_a_type_has_a_kind(data_type, kind):
    assert kind_of(data_type) == kind


def test_every_type_of_touchpoint_that_the_column_is_described_with_is_known():
    nodes = manifest_as_dict(load_settings())["nodes"]
    described = nodes["model.cx_pipeline.touchpoints"]["columns"]["touchpoint_type"]["description"]
    words = re.findall("[a-z_]+", described.replace(" or ", ", "))
    assert TouchpointFilter(type=words).type == words

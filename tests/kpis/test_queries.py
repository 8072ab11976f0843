import json
from typing import Any

import pytest

from cx_pipeline.kpis import queries
from cx_pipeline.kpis.queries import KpiDefinitionError, read_kpis, read_queries


def manifest(kpi: dict[str, Any]) -> dict[str, Any]:
    return {
        "semantic_models": [
            {
                "name": "feedback",
                "defaults": {"agg_time_dimension": "event_date"},
                "measures": [{"name": "points"}, {"name": "answers"}],
            }
        ],
        "metrics": [
            {
                "name": "nps",
                "label": "NPS",
                "description": "The score.",
                "type": "ratio",
                "type_params": {
                    "numerator": {"name": "points"},
                    "denominator": {"name": "answers"},
                },
                "config": {"meta": {"kpi": kpi}},
            },
            {
                "name": "points",
                "type": "simple",
                "type_params": {"measure": {"name": "points"}},
                "config": {"meta": {}},
            },
            {
                "name": "answers",
                "type": "simple",
                "type_params": {"measure": {"name": "answers"}},
                "config": None,
            },
        ],
    }


SHOWN = {"unit": "points", "better": "higher", "grains": ["month"], "dimensions": {"all": None}}


def test_a_metric_with_a_kpi_part_is_a_key_figure():
    (kpi,) = read_kpis(manifest(SHOWN))

    assert (kpi.name, kpi.numerator, kpi.denominator, kpi.n) == (
        "nps",
        "points",
        "answers",
        "answers",
    )
    assert kpi.metrics == ("points", "answers")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"grains": ["year"]}, "grain year is not one of month, week, total"),
        ({"better": "more"}, "better"),
        ({"colour": "red"}, "colour"),
        ({"n": "anwsers"}, "there is no metric anwsers"),
        ({"dimensions": {}}, "dimensions"),
        ({"zero": "nothing"}, "zero"),
        ({"settles_after_days": -1}, "settles_after_days"),
    ],
)
def test_a_wrong_kpi_part_is_refused_with_the_metrics_name(wrong, reason):
    with pytest.raises(KpiDefinitionError, match=f"metric nps: .*{reason}"):
        read_kpis(manifest({**SHOWN, **wrong}))


def test_queries_are_rendered_again_only_when_a_definition_changes(tmp_path, monkeypatch):
    rendered = []
    monkeypatch.setattr(queries, "render_queries", lambda text, kpis: rendered.append(text) or [])
    for shown in (SHOWN, SHOWN, {**SHOWN, "unit": "score"}):
        read_queries(json.dumps(manifest(shown)), tmp_path)

    assert len(rendered) == 2

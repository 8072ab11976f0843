"""MetricFlow's own command on the published file, as CONTRIBUTING and README promise it."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cx_pipeline.settings import DBT_PROJECT_DIR

METRICS = ("nps", "on_time_delivery_rate", "first_response_minutes", "return_on_own_orders")


def test_mf_query_answers_from_the_published_file_what_kpi_values_says(demo_company, tmp_path):
    project = tmp_path / "dbt_project"
    shutil.copytree(DBT_PROJECT_DIR, project, ignore=shutil.ignore_patterns("target", "logs"))
    (project / "target").mkdir()
    shutil.copy(demo_company.data_dir / "target" / "semantic_manifest.json", project / "target")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("mf")),
            *("query", "--metrics", ",".join(METRICS)),
            *("--group-by", "metric_time__month", "--csv", str(tmp_path / "answer.csv")),
        ],
        cwd=project,
        env={
            **os.environ,
            "DBT_PROFILES_DIR": str(project / "published"),
            "CX_DATA_DIR": str(demo_company.data_dir),
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "answer.csv").open() as answer:
        asked = {
            (metric, row["metric_time__month"][:10]): round(float(row[metric]), 6)
            for row in csv.DictReader(answer)
            for metric in METRICS
            if row[metric]
        }
    kept = demo_company.query(
        "select kpi, period_start::varchar, round(value, 6) from kpis.kpi_values "
        f"where kpi in {METRICS} and period_grain = 'month' and dimension = 'all'"
    )
    assert asked == {(kpi, month): value for kpi, month, value in kept}
    assert len(asked) > len(METRICS)

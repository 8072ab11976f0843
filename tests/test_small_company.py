"""A company with one export and one entity: what it adds and what it maps differently arrives."""

from pathlib import Path

from cx_pipeline.settings import PROJECT_DIR
from tests.conftest import Company, run_cx

SOURCES = """
sources:
  crm:
    path: ../in
    tables:
      people:
        files: "*.csv"
        entities:
          contact:
            columns:
              contact_id: id
              crm_id: id
              email: mail
              country: "'{country}'"
"""


def test_new_rows_and_a_new_mapping_are_in_the_next_publication(tmp_path: Path):
    config, inputs = tmp_path / "config", tmp_path / "in"
    config.mkdir()
    inputs.mkdir()
    company_yml = (PROJECT_DIR / "config" / "company.yml").read_text()
    (config / "company.yml").write_text(company_yml)
    (config / "sources.yml").write_text(SOURCES.format(country="DK"))
    (inputs / "a.csv").write_text("id,mail\n1,ann@example.org\n2,bob@example.org\n")
    company = Company(tmp_path / "data")
    run = ("run", "--config", config, "--data", company.data_dir)
    countries = "select country, count(*) from customer_360.customers group by all order by all"

    run_cx(*run)
    assert company.query(countries) == [("DK", 2)]

    (inputs / "b.csv").write_text("id,mail\n3,cai@example.org\n")
    assert "Nothing new" not in run_cx(*run).stdout
    assert company.query(countries) == [("DK", 3)]

    (config / "sources.yml").write_text(SOURCES.format(country="NO"))
    assert "built anew" in run_cx(*run).stdout
    assert company.query(countries) == [("NO", 3)]

"""A company with two small exports: what it adds, repeats and maps differently arrives.

One story, since every run costs seconds.
"""

from pathlib import Path

import pytest

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
  till:
    path: ../in
    tables:
      receipts:
        files: "*.jsonl"
        entities:
          order:
            columns:
              order_id: id
              ordered_at: sold_at
              currency_code: "'XTS'"
              total_amount: "'5'"
"""
REPEATED_KEY = "primary_key_stg_contacts_contact_id"


class Story:
    """Four runs: one that ends well, two with a key that stands twice, one of a new mapping."""

    def __init__(self, folder: Path) -> None:
        self.config, self.inputs = folder / "config", folder / "in"
        self.config.mkdir()
        self.inputs.mkdir()
        company_yml = (PROJECT_DIR / "config" / "company.yml").read_text()
        (self.config / "company.yml").write_text(company_yml)
        self.company = Company(folder / "data")
        self.said: list[str] = []
        self.countries: list[list[tuple]] = []
        self.checked_loads: list[tuple] = []

        (self.inputs / "1.jsonl").write_text('{"id": "r1", "sold_at": "2026-01-01 12:00:00"}\n')
        self.map_country("DK")
        self.run_with("ann", "bob")
        # What increments must never do: leave the row of an earlier load beside the new one.
        self.company.ask_warehouse(
            "insert into staging.stg_contacts by name select * replace (2 as _load_id) "
            "from staging.stg_contacts where contact_id = 'ann'"
        )
        self.run_with("dan")
        self.run_with("eve")
        self.map_country("NO")
        self.run_with()

    def map_country(self, country: str) -> None:
        (self.config / "sources.yml").write_text(SOURCES.format(country=country))

    def run_with(self, *people: str) -> None:
        """Run after a file has come for each of these people; note what came of it."""
        for name in people:
            (self.inputs / f"{name}.csv").write_text(f"id,mail\n{name},{name}@example.org\n")
        run = ("run", "--config", self.config, "--data", self.company.data_dir)
        done = run_cx(*run, check=False)
        self.said.append(done.stdout + done.stderr)
        self.countries.append(
            self.company.query("select country, count(*) from customer_360.customers group by all")
        )
        self.checked_loads += self.company.ask_warehouse("select load_id from sources.checked_load")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("small"))


def test_a_currency_without_a_rate_is_named(story):
    assert "XTS has no exchange rate in config/company.yml" in story.said[0]


def test_a_repeated_key_fails_every_run_until_it_is_gone(story):
    assert [REPEATED_KEY in said for said in story.said] == [False, True, True, False]


def test_what_a_failed_check_leaves_is_not_published(story):
    assert story.countries[:3] == [[("DK", 2)]] * 3


def test_a_load_counts_as_tested_when_its_run_ended_well(story):
    assert story.checked_loads == [(1,), (1,), (1,), (3,)]


def test_a_new_mapping_builds_all_rows_anew(story):
    assert "built anew" in story.said[3]
    assert story.countries[3] == [("NO", 4)]

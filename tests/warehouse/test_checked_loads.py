"""Tests look at new loads only, and no repeated key gets past them."""

from pathlib import Path

from cx_pipeline.settings import PROJECT_DIR
from tests.conftest import Company, run_cx
from tests.test_small_company import SOURCES

FAILED = "unique_stg_contacts_contact_id"


def test_a_repeated_key_fails_every_run_until_it_is_gone(tmp_path: Path):
    config, inputs = tmp_path / "config", tmp_path / "in"
    config.mkdir()
    inputs.mkdir()
    company_yml = (PROJECT_DIR / "config" / "company.yml").read_text()
    (config / "company.yml").write_text(company_yml)
    (config / "sources.yml").write_text(SOURCES.format(country="DK"))
    company = Company(tmp_path / "data")

    def arrives(contact: str) -> str:
        (inputs / f"{contact}.csv").write_text(f"id,mail\n{contact},{contact}@example.org\n")
        done = run_cx("run", "--config", config, "--data", company.data_dir, check=False)
        return done.stdout + done.stderr

    def checked() -> list[tuple]:
        return company.ask_warehouse("select load_id from sources.checked_load")

    assert FAILED not in arrives("ann")
    assert checked() == [(1,)]
    # What increments must never do: leave the row of an earlier load beside the new one.
    company.ask_warehouse(
        "insert into staging.stg_contacts by name select * replace (2 as _load_id) "
        "from staging.stg_contacts"
    )
    assert FAILED in arrives("bob")
    assert FAILED in arrives("cai")
    assert checked() == [(1,)]
    company.ask_warehouse(
        "delete from staging.stg_contacts where contact_id = 'ann' and _load_id = 2"
    )
    assert FAILED not in arrives("dan")
    assert checked() == [(4,)]
    full = run_cx("run", "--full-refresh", "--config", config, "--data", company.data_dir)
    assert FAILED not in full.stdout
    assert company.ask_warehouse(
        "select count(*) from duckdb_tables() where table_name = 'checked_load'"
    ) == [(0,)]

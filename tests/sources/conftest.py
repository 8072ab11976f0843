"""A company of one test: its config, its inputs, its lake and a warehouse to look at it."""

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from cx_pipeline.settings import Settings, load_settings
from cx_pipeline.sources import landing
from cx_pipeline.sources.landing import Outcome, land
from cx_pipeline.sources.views import register

COMPANY = """
company: Test
base_currency: EUR
time_zone: Europe/Copenhagen
country: DK
"""


@dataclass
class Site:
    """One company: write its inputs, load them, and ask what arrived."""

    folder: Path
    connection: duckdb.DuckDBPyConnection

    @property
    def settings(self) -> Settings:
        return load_settings(self.folder / "config", self.folder / "data")

    @property
    def inputs(self) -> Path:
        return self.folder / "in"

    def configure(self, text: str) -> None:
        """Write sources.yml."""
        (self.folder / "config" / "sources.yml").write_text(text, encoding="utf-8")

    def write(self, name: str, content: str | bytes) -> Path:
        """Write an input file."""
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return path

    def write_lines(self, name: str, *records: dict) -> Path:
        """Write JSON Lines."""
        return self.write(name, "".join(json.dumps(record) + "\n" for record in records))

    def write_parquet(self, name: str, select: str) -> Path:
        """Write the result of a select as Parquet."""
        path = self.inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        duckdb.execute(f"copy ({select}) to '{path}' (format parquet)")
        return path

    def write_sqlite(self, name: str, *statements: str) -> Path:
        """Run statements on a SQLite file, made if it is not there."""
        path = self.inputs / name
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()
        return path

    def load(self) -> list[Outcome]:
        """Land what is new and make the views; no table may fail."""
        outcomes = self.load_with_errors()
        assert [outcome.error for outcome in outcomes if outcome.error] == []
        return outcomes

    def load_with_errors(self) -> list[Outcome]:
        """Land what is new and make the views."""
        outcomes = land(self.connection, self.settings)
        self.notes = register(self.connection, self.settings)
        return outcomes

    def ask(self, sql: str) -> list[tuple]:
        """Ask the warehouse."""
        return self.connection.execute(sql).fetchall()

    def quarantined(self) -> list[tuple]:
        """Return the rejected rows: file, row, column, reason."""
        return self.ask(
            "select file, row_number, column_name, reason from sources.rejected_rows order by all"
        )

    def lake_content(self) -> dict[str, list[tuple]]:
        """Return every row of every raw view, without the time of the load."""
        views = self.ask(
            "select schema_name, view_name from duckdb_views() "
            "where schema_name like 'raw%' order by all"
        )
        return {
            f"{schema}.{view}": self.ask(
                f'select * exclude (_loaded_at) from {schema}."{view}" order by all'
            )
            for schema, view in views
        }


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty company."""
    monkeypatch.setattr(landing, "PAUSES_SECONDS", (0.0,))
    (tmp_path / "config").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "config" / "company.yml").write_text(COMPANY)
    connection = duckdb.connect()
    yield Site(tmp_path, connection)
    connection.close()


def shop_config(table: str, entities: str = "", time_zone: str = "UTC") -> str:
    """Return a sources.yml of one source `shop` below ../in with one table `orders`."""
    text = f"""
sources:
  shop:
    path: ../in
    time_zone: {time_zone}
    tables:
      orders:
        {table}
"""
    return text + (f"        entities:\n{entities}" if entities else "")


ORDER_MAPPING = """
          order:
            columns:
              order_id: order_no
              email: email
              ordered_at: placed
              currency_code: "'EUR'"
              total_amount: amount
"""

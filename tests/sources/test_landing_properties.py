"""However rows are spread over files and runs, the same rows land."""

import csv
import io
import tempfile
from pathlib import Path

import duckdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.conftest import COMPANY, Site, shop_config

# Anything that a CSV can hold; no NUL and no lone surrogates, which are refused elsewhere.
CELL = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)
ROWS = st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=30)


def _csv(rows: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("a", "b", "c"), *rows])
    return text.getvalue()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, data=st.data())
def test_any_split_into_files_and_loads_lands_the_same_rows(
    rows: list[tuple[str, ...]], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=5).map(sorted))
    pieces = [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    runs_after = data.draw(st.sets(st.integers(0, len(pieces) - 1)))
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        site = Site(Path(folder), connection)
        for name in ("config", "in"):
            (Path(folder) / name).mkdir()
        (Path(folder) / "config" / "company.yml").write_text(COMPANY)
        site.configure(shop_config("files: '*.csv'"))
        for number, piece in enumerate(pieces):
            site.write(f"{number}.csv", _csv(piece))
            if number in runs_after:
                site.load()
        site.load()
        landed = site.ask("select a, b, c, _file, _row_number from raw_shop.orders order by all")
        rejected = site.quarantined()
    expected = [
        (*(cell or None for cell in row), f"{number}.csv", position)
        for number, piece in enumerate(pieces)
        for position, row in enumerate(piece, start=2)
    ]
    assert rejected == []
    assert sorted(landed, key=str) == sorted(expected, key=str)

"""Files elsewhere and files in packages land like those in a folder."""

import gzip
import io
import itertools
import lzma
import zipfile

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from cx_pipeline.sources import files
from tests.sources.conftest import ORDER_MAPPING, Site, shop_config

CSV = b"order_no,email,amount,placed\n1,a@x.dk,1,2026-01-02\n2,b@x.dk,2,2026-01-02\n"


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    """An empty file system that stands for an object store."""
    filesystem = fsspec.filesystem("memory")
    if filesystem.exists("/shop"):
        filesystem.rm("/shop", recursive=True)
    return filesystem


def test_an_object_store_lands_and_is_not_read_twice(
    site: Site, memory: fsspec.AbstractFileSystem
) -> None:
    site.configure(
        shop_config("files: 'day=*/*.csv'", ORDER_MAPPING).replace("../in", "memory://shop")
    )
    memory.pipe("/shop/day=1/a.csv", CSV)
    memory.pipe("/shop/day=1/readme.txt", b"no order")
    memory.pipe("/shop/day=2/deeper/a.csv", CSV)
    assert site.load()[0].rows_landed == 2
    assert site.ask("select distinct _file from raw_shop.orders") == [("day=1/a.csv",)]
    assert site.load()[0].load_id is None
    memory.pipe("/shop/day=2/a.csv", CSV)
    assert site.load()[0].rows_landed == 2


def test_files_in_a_zip_land(site: Site) -> None:
    site.configure(
        shop_config("files: '*.csv'", ORDER_MAPPING).replace(
            "../in", "'zip://::{config_dir}/../in/export.zip'"
        )
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("a.csv", CSV)
        package.writestr("b.csv", CSV.replace(b"2026-01-02", b"2026-01-03"))
    site.write("export.zip", packed.getvalue())
    assert site.load()[0].rows_landed == 4
    assert site.load()[0].load_id is None


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_files_land_unpacked(site: Site, ending: str, pack: object) -> None:
    site.configure(shop_config(f"files: '*.csv{ending}'", ORDER_MAPPING))
    site.write(f"a.csv{ending}", pack(CSV))
    site.load()
    assert site.ask("select order_no, _file from raw_shop.orders order by 1") == [
        ("1", f"a.csv{ending}"),
        ("2", f"a.csv{ending}"),
    ]


def test_a_folder_that_is_not_there_is_one_sources_error(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "../nowhere"))
    assert "there is no folder" in site.load_with_errors()[0].error


def test_a_file_system_that_is_not_known_is_one_sources_error(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "nosuch://x"))
    assert "does not answer" in site.load_with_errors()[0].error


def test_a_file_system_whose_package_is_missing_names_it(site: Site) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "gcs://bucket/x"))
    error = site.load_with_errors()[0].error
    assert "install gcsfs" in error
    assert "network" not in error


class HttpError(Exception):
    """What a file system raises that brings errors of its own, as gcsfs and botocore do."""


def _fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: Exception, place: tuple) -> None:
    """Let one call of a function fail."""
    owner, name = place
    works, calls = getattr(owner, name), itertools.count(1)

    def that_fails(*given: object, **words: object) -> object:
        if next(calls) == call:
            raise error
        return works(*given, **words)

    monkeypatch.setattr(owner, name, that_fails)


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ((MemoryFileSystem, "_open"), 2),
        ((MemoryFile, "read"), 3),
        # Listing asks for the stamps of both files.
        ((files, "_remote_stamp"), 3),
    ],
)
def test_a_remote_file_that_does_not_answer_is_asked_again(
    site: Site,
    memory: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple,
    call: int,
) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "memory://shop"))
    memory.pipe("/shop/a.csv", CSV)
    memory.pipe("/shop/b.csv", CSV.replace(b"2026-01-02", b"2026-01-03"))
    _fail_at(monkeypatch, call, HttpError("503 slow down"), place)
    assert site.load()[0].rows_landed == 4


def test_a_remote_file_that_never_answers_is_one_sources_error(
    site: Site, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "memory://shop"))
    memory.pipe("/shop/a.csv", CSV)
    for call in (1, 1):
        _fail_at(monkeypatch, call, HttpError("503 slow down"), (MemoryFileSystem, "_open"))
    assert site.load_with_errors()[0].error == (
        "shop.orders: a.csv cannot be read (HttpError: 503 slow down); check the file, the "
        "credentials and the network."
    )


def test_a_remote_file_that_is_locked_is_refused_and_the_others_land(
    site: Site, memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(shop_config("files: '*.csv'", ORDER_MAPPING).replace("../in", "memory://shop"))
    memory.pipe("/shop/a.csv", CSV)
    memory.pipe("/shop/b.csv", CSV)
    _fail_at(monkeypatch, 1, PermissionError("403"), (MemoryFileSystem, "_open"))
    assert site.load()[0].rows_landed == 2
    assert "cannot be opened (403)" in site.quarantined()[0][3]

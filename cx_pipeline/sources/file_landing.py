"""The new and changed files of one table, read and ready to be put into the lake.

Reads:     the files of a source
Writes:    parts in a scratch folder
Keeps out: the manifest (landing.py) and how a file is read (files.py, readers.py)
"""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath

import duckdb

from cx_pipeline.settings import Settings
from cx_pipeline.sources.binding import NO_ROW, missing_columns
from cx_pipeline.sources.config import SourceConfig, TableConfig, expanded
from cx_pipeline.sources.files import FileRefusedError, InputFile, find_files, prepare, written_at
from cx_pipeline.sources.lake import Entry, Harvest, LandedFile, RefusedFile, RejectedRow
from cx_pipeline.sources.parts import FileCount, Landed
from cx_pipeline.sources.readers import Reader
from cx_pipeline.warehouse.company import is_out_of_space
from cx_pipeline.warehouse.sql import quoted, text_literal

_NOTHING = FileCount(row_count=0, rejected_count=0, first_row_number=1)
"""What lands of a file whose rows are landed already, or with another one."""


def files_of(source: SourceConfig, table: TableConfig, settings: Settings) -> list[InputFile]:
    """Return the files of a table that are there now, by name.

    Raises:
        SourceUnreachableError: The source's folder or remote place is not there.
    """
    path = expanded(source.path or "", settings)
    # The inbox belongs to us: before anything came back there is nothing in it, nor a folder.
    is_inbox = Path(path).is_absolute() and Path(path).is_relative_to(settings.inbox_dir)
    if is_inbox and not Path(path).exists():
        return []
    return find_files(path, table.files, settings.config_dir)


def known_files(entries: Sequence[Entry]) -> dict[str, LandedFile]:
    """Return each landed file as it was landed last.

    One that only moved is known for as long as the lake holds what landed under its old name.
    """
    files = [file for entry in entries for file in entry.files]
    landed = {(file.file, file.sha256) for file in files if not file.moved_from}
    return {
        file.file: file
        for file in files
        if not file.moved_from or (file.moved_from, file.sha256) in landed
    }


def known_refusals(entries: Sequence[Entry]) -> dict[str, RefusedFile]:
    """Return each file whose last coming was refused and that was not taken away since."""
    refused: dict[str, RefusedFile] = {}
    for entry in entries:
        for name in (*(file.file for file in entry.files), *entry.taken_away):
            refused.pop(name, None)
        refused |= {item.file: item for item in entry.refused}
    return refused


def new_files(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[InputFile],
    table: TableConfig,
    entries: Sequence[Entry],
    scratch: Path,
    loaded_at: datetime,
    *,
    names_there: Collection[str],
    names_count: bool,
) -> Harvest | None:
    """Read the files that are not landed as they are; None when there is nothing to tell.

    A file is known by its name and content: touched but unchanged it is left alone. Of files that
    came together with the same content the last one lands, the others are noted, and so is one that
    only moved; unless names count: then they may be what tells two files apart, such as the store
    in a till file's name.

    Args:
        connection: DuckDB, to read and write with.
        files: Those that may be new.
        table: The table's config.
        entries: What the manifest says of earlier loads of the table, oldest first.
        scratch: Where to write.
        loaded_at: Time of the load.
        names_there: Names of all files of the table that are there.
        names_count: Whether a file's name says something.
    """
    known = known_files(entries)
    fresh: list[InputFile] = []
    refused: dict[str, str] = {}
    for number, file in enumerate(files):
        try:
            prepare(file, table, scratch, number)
        except FileRefusedError as error:
            refused[file.name] = str(error)
        except OSError as error:
            if is_out_of_space(error):
                raise
            refused[file.name] = _unopened(error)
        if file.name in known and known[file.name].sha256 == file.sha256:
            refused.pop(file.name, None)
            continue
        fresh.append(file)
    readable = [file for file in fresh if file.name not in refused]
    untouched = set(names_there) - {file.name for file in fresh}
    moved = {} if names_count else _moved(readable, untouched, entries)
    copies = {} if names_count else _copies([file for file in readable if file.name not in moved])
    originals = [file for file in readable if file.name not in {*moved, *copies}]
    landed = _read(Reader(connection, table, scratch, loaded_at), originals)
    for copy, original in copies.items():
        if original in landed.refused:
            landed.refused[copy] = landed.refused[original]
        else:
            landed.counts[copy] = _NOTHING
    landed.counts |= dict.fromkeys(moved, _NOTHING)
    refused |= landed.refused
    refusals = untold_refusals(
        [
            RefusedFile(
                file=file.name, sha256=file.sha256, stamp=file.stamp, reason=refused[file.name]
            )
            for file in fresh
            if file.name in refused
        ],
        entries,
    )
    if not landed.counts and not refusals:
        return None
    return Harvest(
        parts=landed.parts,
        files=[
            LandedFile(
                file=file.name,
                sha256=file.sha256,
                stamp=file.stamp,
                size_bytes=file.size_bytes,
                row_count=landed.counts[file.name].row_count,
                rejected_count=landed.counts[file.name].rejected_count,
                first_row_number=landed.counts[file.name].first_row_number,
                moved_from=moved.get(file.name),
            )
            for file in fresh
            if file.name in landed.counts
        ],
        rejected=[
            *landed.rejected,
            *(
                RejectedRow(file=item.file, row_number=None, reason=item.reason)
                for item in refusals
            ),
        ],
        refused=refusals,
    )


def _unopened(error: OSError) -> str:
    return (
        f"the file cannot be opened ({error.strerror or error}); check that it is there, its rights"
    )


def _copies(fresh: Sequence[InputFile]) -> dict[str, str]:
    """Return the files that hold what a later one does, each with that one's name.

    Of snapshots A, B, A the last one stands. With files of earlier loads nothing is compared: what
    changes and changes back has to land again.
    """
    ordered = sorted(
        fresh, key=lambda file: re.sub(r"\d+", lambda number: number[0].zfill(20), file.name)
    )
    last = {file.sha256: file.name for file in ordered}
    return {file.name: last[file.sha256] for file in fresh if last[file.sha256] != file.name}


def _moved(
    fresh: Sequence[InputFile], untouched: Collection[str], entries: Sequence[Entry]
) -> dict[str, str]:
    """Return the files that only moved to another folder, each with the name that it landed under.

    Landed again, its old rows would be the newest ones. Of a name that landed before nothing is
    compared, nor of a file that was written anew after another version of it had landed: what
    changes and changes back has to land again.
    """
    names = {file.file for entry in entries for file in entry.files}
    landed: dict[tuple[str, str], list[LandedFile]] = {}
    newest: dict[str, str] = {}
    for file in (file for entry in entries for file in entry.files if not file.moved_from):
        base = PurePosixPath(file.file).name
        landed.setdefault((base, file.sha256), []).append(file)
        newest[base] = file.sha256
    moved = {}
    for file in fresh:
        base = PurePosixPath(file.name).name
        for old in landed.get((base, file.sha256), []):
            is_anew = written_at(file.stamp) != written_at(old.stamp)
            is_news = is_anew and newest[base] != file.sha256
            if file.name not in names and old.file not in untouched and not is_news:
                moved[file.name] = old.file
    return moved


def untold_refusals(refused: Sequence[RefusedFile], entries: Sequence[Entry]) -> list[RefusedFile]:
    """Return the refusals that differ from the last one of the same file."""
    told = {name: (item.sha256, item.reason) for name, item in known_refusals(entries).items()}
    return [item for item in refused if told.get(item.file) != (item.sha256, item.reason)]


def _read(reader: Reader, files: Sequence[InputFile]) -> Landed:
    """Land files, those of the same columns together."""
    everything = Landed()
    groups: dict[tuple[str, ...], list[InputFile]] = {}
    for file in files:
        try:
            groups.setdefault(reader.format.columns(file), []).append(file)
        except FileRefusedError as error:
            everything.refused[file.name] = str(error)
        except OSError as error:
            everything.refused[file.name] = _unopened(error)
    for columns, group in groups.items():
        missing = _missing_columns(reader, columns, group[0])
        if missing:
            everything.refused |= dict.fromkeys((file.name for file in group), missing)
        else:
            everything.add(reader.read(columns, group))
    return everything


def _missing_columns(reader: Reader, columns: tuple[str, ...], sample: InputFile) -> str | None:
    table = reader.table
    if table.file_format == "jsonl":
        # A record leaves out what it does not know: an absent key is an empty value.
        return None
    if table.file_format == "parquet":
        rows = f"select * from read_parquet([{text_literal(str(sample.plain_path))}])"
    else:
        rows = "select " + ", ".join(f"null::varchar as {quoted(name)}" for name in columns)
    return missing_columns(reader.parts.connection, table, f"(select *, {NO_ROW} from ({rows}))")

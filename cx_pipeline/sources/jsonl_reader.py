"""JSON Lines files, every key's value as text; a line that is no object is a reject.

Reads:     prepared JSON Lines files (files.py)
Keeps out: how the rows become a part (parts.py)
"""

import json
from collections import defaultdict
from collections.abc import Sequence

from cx_pipeline.sources.config import TableConfig
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.parts import (
    INPUT_PATH,
    Landed,
    PartWriter,
    Reject,
    name_fault,
    path_list,
)
from cx_pipeline.warehouse.sql import text_literal

_NO_RECORD = (
    "no line of the file is a JSON object with keys that can land; is it another format, or an "
    "error page? JSON Lines has one object on each line; `jq -c '.[]'` makes them of an array"
)

# `[1, 2]` is JSON, but no record.
_IS_RECORD = "starts_with(ltrim(json::varchar), '{')"


class JsonlReader:
    """Reads the JSON Lines files of one table."""

    def __init__(self, parts: PartWriter, table: TableConfig) -> None:
        self.parts = parts

    def columns(self, file: InputFile) -> tuple[str, ...]:
        """Return nothing: files of all keys fit one part."""
        return ()

    def sample(self, columns: tuple[str, ...], file: InputFile, row_count: int) -> str:
        """Return a select of the records among the first lines, with the keys of any."""
        lines = f"read_ndjson_objects({path_list([file])}, ignore_errors = true)"
        records = f"(from (from {lines} limit {row_count}) where {_IS_RECORD})"
        found = self.parts.connection.execute(
            f"select distinct unnest(json_keys(json)) from {records} order by all"
        ).fetchall()
        # As in landing, a record whose keys cannot land is left out.
        keys = list({key.lower(): key for (key,) in found if not name_fault([key])}.values())
        if not keys:
            raise FileRefusedError(_NO_RECORD)
        landing = f"list_has_all([{', '.join(map(text_literal, keys))}], json_keys(json))"
        return f"select unnest({_values(keys)}) from {records} where {landing}"

    def read(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        """Land files, with the keys of any."""
        objects = (
            f"read_ndjson_objects({path_list(files)}, ignore_errors = true, "
            f"filename = '{INPUT_PATH}')"
        )
        shape = f"case when {_IS_RECORD} then json_keys(json) end"
        shapes = self.parts.connection.execute(
            f"select {INPUT_PATH}, {shape} as keys from {objects} "
            "group by all order by count(*) desc, keys"
        ).fetchall()
        shapes_of: defaultdict[str, list[list[str] | None]] = defaultdict(list)
        for path, keys_found in shapes:
            shapes_of[path].append(keys_found)
        keys: dict[str, None] = {}
        faults: list[tuple[str, list[str] | None, str]] = []
        for file in files:
            path = str(file.plain_path)
            spelling: dict[str, str] = {}
            bad = [
                (path, found, fault)
                for found in shapes_of[path]
                if (fault := _fault(found, spelling))
            ]
            if len(bad) == len(shapes_of[path]):
                for _, found, fault in bad:
                    if found is not None:
                        raise FileRefusedError(fault)
                raise FileRefusedError(_NO_RECORD)
            faults += bad
            keys |= dict.fromkeys(spelling.values())
        if len({key.lower() for key in keys}) < len(keys):
            raise FileRefusedError("files of several write a key in upper and in lower case")
        if not faults:
            types = ", ".join(f"{text_literal(key)}: 'varchar'" for key in keys)
            source = (
                f"read_json({path_list(files)}, format = 'newline_delimited', "
                f"columns = {{{types}}}, filename = '{INPUT_PATH}')"
            )
            part, row_count = self.parts.copy(f"select * from {source}", files)
            return self.parts.finish(part, row_count, files, [], 1)
        return self._read_good_records(files, objects, shape, list(keys), faults)

    def _read_good_records(
        self,
        files: Sequence[InputFile],
        objects: str,
        shape: str,
        keys: list[str],
        faults: list[tuple[str, list[str] | None, str]],
    ) -> Landed:
        """Land the good lines of files in which some are no JSON object or have faulty keys."""
        self.parts.connection.execute(
            "create or replace temp table faults "
            f"({INPUT_PATH} varchar, keys varchar[], fault varchar)"
        )
        self.parts.connection.execute(
            "insert into faults select unnest($1), unnest($2::varchar[][]), unnest($3)",
            [list(column) for column in zip(*faults, strict=True)],
        )
        judged = f"""
            select lines.*, faults.fault
            from (
                select json, {INPUT_PATH}, {shape} as keys, row_number() over () as position
                from {objects}
            ) as lines
            left join faults
                on
                    lines.{INPUT_PATH} = faults.{INPUT_PATH}
                    and lines.keys is not distinct from faults.keys
        """
        names = {str(file.plain_path): file.name for file in files}
        rejects = [
            Reject(file=names[path], row_number=number, reason=fault)
            for path, number, fault in self.parts.connection.execute(
                f"""
                select
                    {INPUT_PATH},
                    position - min(position) over (partition by {INPUT_PATH}) + 1 as number,
                    fault,
                from ({judged})
                qualify fault is not null
                order by all
                """
            ).fetchall()
        ]
        part, row_count = self.parts.copy(
            f"select unnest({_values(keys)}), {INPUT_PATH} "
            f"from ({judged}) where fault is null order by position",
            files,
        )
        return self.parts.finish(part, row_count, files, rejects, 1)

    def repair(self, file: InputFile, columns: tuple[str, ...]) -> bool:
        """Return False: its lines are its records."""
        return False


def _fault(keys: list[str] | None, spelling: dict[str, str]) -> str:
    """Say why a record of these keys cannot land, '' when it can and its keys are noted.

    Args:
        keys: None of a line that is no JSON object.
        spelling: How the records so far write each key, by its lower case.
    """
    if keys is None:
        return "the line is not a JSON object; it may be cut off. Write it again"
    fault = name_fault(keys)
    for key in keys:
        if not fault and spelling.get(key.lower(), key) != key:
            fault = (
                f'the key "{key}" is written "{spelling[key.lower()]}" in other records (upper and '
                "lower case are the same); write it one way"
            )
    if not fault:
        spelling.update((key.lower(), key) for key in keys)
    return fault


def _values(keys: Sequence[str]) -> str:
    """Return a record's values of these keys, as texts."""
    return f"json_transform(json, {text_literal(json.dumps(dict.fromkeys(keys, 'VARCHAR')))})"

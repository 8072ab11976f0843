"""Parquet files, every column in its own type, but bytes as text.

Reads:     Parquet files (files.py)
Keeps out: how the rows become a part (parts.py)
"""

from collections.abc import Sequence

import pyarrow.parquet as pq
from pyarrow import ArrowException

from cx_pipeline.sources.casting import as_text
from cx_pipeline.sources.config import TableConfig
from cx_pipeline.sources.files import FileRefusedError, InputFile
from cx_pipeline.sources.parts import INPUT_PATH, Landed, PartWriter, check_names, path_list
from cx_pipeline.warehouse.sql import quoted


class ParquetReader:
    """Reads the Parquet files of one table."""

    def __init__(self, parts: PartWriter, table: TableConfig) -> None:
        self.parts = parts

    def columns(self, file: InputFile) -> tuple[str, ...]:
        """Return the columns with their types."""
        try:
            metadata = pq.read_metadata(file.plain_path)
        except (ArrowException, OSError) as error:
            raise FileRefusedError(
                f"the file is not a whole Parquet file ({str(error).splitlines()[0][:120]}); "
                "copy or export it again"
            ) from None
        if metadata.num_row_groups:
            group = metadata.row_group(0)
            codecs = {group.column(index).compression for index in range(group.num_columns)}
            if "BROTLI" in codecs:
                raise FileRefusedError(
                    "the file is compressed with Brotli, whose decoder in DuckDB has an unfixed "
                    "fault; write it with zstd or snappy"
                )
        schema = metadata.schema.to_arrow_schema()
        check_names(schema.names)
        return tuple(f"{item.name} {item.type}" for item in schema)

    def sample(self, columns: tuple[str, ...], file: InputFile, row_count: int) -> str:
        """Return a select of the first rows."""
        return f"{self._rows([file])} limit {row_count}"

    def read(self, columns: tuple[str, ...], files: Sequence[InputFile]) -> Landed:
        """Land files of the same columns and types."""
        part, row_count = self.parts.copy(self._rows(files, f"filename = '{INPUT_PATH}'"), files)
        return self.parts.finish(part, row_count, files, [], 1)

    def _rows(self, files: Sequence[InputFile], *options: str) -> str:
        """Return a select of the rows of files of the same columns and types.

        Impala, Hive and older Spark write text without the mark that it is UTF-8.
        """
        arguments = ", ".join((path_list(files), "hive_partitioning = false", *options))
        rows = f"read_parquet({arguments})"
        columns = self.parts.connection.execute(f"describe select * from {rows}").fetchall()
        texts = [
            f"{as_text(quoted(name), kind)} as {quoted(name)}"
            for name, kind, *_ in columns
            if kind == "BLOB"
        ]
        replaced = f" replace ({', '.join(texts)})" if texts else ""
        return f"select *{replaced} from {rows}"

    def repair(self, file: InputFile, columns: tuple[str, ...]) -> bool:
        """Return False: a broken one has no whole rows to tell."""
        return False

"""Parquet tables with the text in one of their columns."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, Part, Source, _files, in_parts

_ROWS = 256  # read together


def build(
    downloads: Path, *, paths: str | tuple[str, ...] = (), text_column: str = "text", id_column: str = ""
) -> Source:
    """Parquet files.

    Args:
      paths: files, folders and patterns ("corpus/*.parquet"), local or remote.
      text_column: the column that holds the text; rows without one are left out.
      id_column: the column that names the document; without it the name is file and row.

    Raises:
      DataError: nothing to read, a file that is not Parquet, or a column that it lacks or has twice; while reading:
        a row group that is damaged, or a text that is not UTF-8.
    """
    del downloads
    files = _files.find("parquet.paths", paths, (".parquet",))
    inputs = _files.inputs(files)
    names = tuple((name, size) for name, size, _ in inputs)
    for name, _ in names:
        _check(name, text_column, id_column)
    size = sum(size for _, size in names)
    return Source(
        size=size,
        parts=functools.partial(_parts, names, text_column, id_column),
        about=f"{len(files)} Parquet files, {size / 1e6:.1f} MB on disk",
        inputs=inputs,
    )


def _check(name: str, text_column: str, id_column: str) -> None:
    import pyarrow
    from etils import epath
    from pyarrow import parquet

    with epath.Path(name).open("rb") as file:
        try:
            schema = parquet.read_schema(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{name} cannot be read as Parquet: {_first_line(error)}") from None
    for column in filter(None, (text_column, id_column)):
        if column not in schema.names:
            raise DataError(f"{name} has no column {column!r} ({', '.join(schema.names)}); set parquet.text_column")
        if schema.names.count(column) > 1:
            raise DataError(f"{name} has {schema.names.count(column)} columns {column!r}; give each its own name")
    kind = schema.field(text_column).type
    if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        raise DataError(f"{name}: column {text_column!r} holds no text but {kind}; set parquet.text_column")


def _parts(files: tuple[tuple[str, int], ...], text_column: str, id_column: str) -> Iterator[Part]:
    """Progress counts the bytes on disk: each part has the share of its file that its row group is of the rows."""
    import pyarrow
    from etils import epath
    from pyarrow import parquet

    for name, size in files:
        with epath.Path(name).open("rb") as opened:
            try:
                table = parquet.ParquetFile(opened)
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(f"{name} cannot be read as Parquet: {_first_line(error)}") from None
            row, rows = 0, max(1, table.metadata.num_rows)
            for group in range(table.num_row_groups):
                group_rows = table.metadata.row_group(group).num_rows
                try:
                    parts = list(_group_parts(table, name, group, row, text_column, id_column))
                except (pyarrow.ArrowException, OSError) as error:
                    message = f"{name}: row group {group} cannot be read: {_first_line(error)}; fetch or write it again"
                    raise DataError(message) from None
                for part in parts:
                    yield Part(size * group_rows // rows // len(parts), part.read)
                row += group_rows


def _group_parts(table: Any, name: str, group: int, row: int, text_column: str, id_column: str) -> Iterator[Part]:
    def documents() -> Iterator[Document]:
        number, where = row, f"{name}: row group {group}"
        columns = [column for column in (text_column, id_column) if column]
        for batch in table.iter_batches(_ROWS, row_groups=[group], columns=columns):
            texts = values(batch.column(text_column), text_column, where, number)
            ids = values(batch.column(id_column), id_column, where, number) if id_column else [None] * len(texts)
            for text, document_id in zip(texts, ids, strict=True):
                if text:
                    yield Document(f"{name}@{number}" if document_id is None else str(document_id), text)
                number += 1

    return in_parts(documents())


def values(column: Any, name: str, where: str, first: int) -> list[Any]:
    """The values of a column, of rows from number `first` on."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        row = first + next(i for i, value in enumerate(column) if not _is_text(value))
        raise DataError(f"{where}: column {name!r} of row {row} is not UTF-8; write it again") from None


def _is_text(value: Any) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

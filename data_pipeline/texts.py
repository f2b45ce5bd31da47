"""Reads a file of texts as a stream, one text a record, in order: lines, JSON-lines or Parquet, by the name's end."""

import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from configuration.variants import nearest
from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import whole
from data_pipeline.sources.parquet import values

LONGEST_LINE = 1 << 27  # bytes
JSON = (".jsonl", ".ndjson", ".json")
_ROWS = 1024  # of a Parquet table, read together


class Texts(NamedTuple):
    """The texts of a file."""

    number: int
    read: Callable[[], Iterator[str]]  # all of them from the first
    size: int  # of the file, bytes
    changed: float  # when, in seconds since 1970


def open_texts(path: Path, column: str = "text") -> Texts:
    """The texts of a file: each line of a text file, also if empty, or a column of JSON-lines or of a Parquet table.

    Raises:
      DataError: no such file, nothing in it, or no such column; while reading, with file and line: invalid UTF-8, a
        line that is no JSON object with such a text, or a row without text.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is a folder; give a file" if path.is_dir() else f"{path} does not exist; check the path"
        )
    stat = path.stat()
    if path.suffix == ".parquet":
        number, read = _parquet_rows(path, column), functools.partial(_parquet, path, column)
    elif path.suffix in JSON:
        number, read = sum(1 for _, line in _lines(path) if line.strip()), functools.partial(_json, path, column)
    else:
        number, read = sum(1 for _ in _lines(path)), functools.partial(_text, path)
    if not number:
        raise DataError(f"{path} is empty; give a file that holds text")
    return Texts(number, read, stat.st_size, stat.st_mtime)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, from 1; only line feeds end one."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise DataError(f"{path}:{number} is longer than {LONGEST_LINE >> 20} MiB; give one text a line")
            yield number, line.removesuffix(b"\n").removesuffix(b"\r")


def _text(path: Path) -> Iterator[str]:
    return (_decode(path, number, line) for number, line in _lines(path))


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number} is not UTF-8: byte 0x{line[error.start]:02x} after {error.start}; convert the file, e.g. "
            "with iconv"
        ) from None


def _json(path: Path, column: str) -> Iterator[str]:
    for number, line in _lines(path):
        if line.strip():
            yield _field(f"{path}:{number}", _decode(path, number, line), column)


def _field(where: str, line: str, column: str) -> str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: this line is not JSON ({error})") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: this line is no object but {line:.40}; give one object a line")
    if column not in record:
        raise DataError(f"{where} has no field {column!r}{nearest(column, record)}; set --column")
    return _checked(where, column, record[column])


def _checked(where: str, column: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {column!r} holds no text but {value!r:.40}; set --column, or correct the record")
    return whole(value)


def _parquet_rows(path: Path, column: str) -> int:
    import pyarrow
    from pyarrow import parquet

    try:
        metadata = parquet.read_metadata(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    names = metadata.schema.to_arrow_schema().names
    if column not in names:
        raise DataError(f"{path} has no column {column!r}{nearest(column, names)}; set --column")
    if names.count(column) > 1:
        raise DataError(f"{path} has {names.count(column)} columns {column!r}; give each its own name")
    return metadata.num_rows


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    row = 0
    try:
        with parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(_ROWS, columns=[column]):
                for value in values(batch.column(0), column, str(path), row):
                    yield _checked(f"{path} row {row}", column, value)
                    row += 1
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as Parquet after row {row}: {reason}") from None

"""JSON-lines: one object a line, whose fields are the columns; plain or packed."""

import functools
import json
from collections.abc import Iterator

from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

_ENDINGS = (".jsonl", ".ndjson", ".json")


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    encoding: str = "utf-8",
) -> Labelled:
    """JSON-lines files; values are as JSON has them.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive.
      encoding: of the files.

    Raises:
      DataError: nothing to read; while reading: a line that is no JSON object.
    """
    records = functools.partial(_records, encoding)
    return _files.labelled("json_lines", {"train": train, "dev": dev, "test": test}, _ENDINGS, records)


def _records(encoding: str, files: Iterator[File]) -> Iterator[Record]:
    for file in files:
        for where, line in _files.lines(file, encoding):
            yield Record(read_object(where, line), where)


def read_object(where: str, line: str) -> dict:
    """The object of a line.

    Raises:
      DataError: it is no JSON object; names `where`.
    """
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: this line is not JSON ({error})") from None
    except RecursionError:
        raise DataError(f"{where}: this line is nested too deep") from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: this line is no object but {line:.40}; give one object a line")
    return _files.without_surrogates(value) if "\\u" in line else value

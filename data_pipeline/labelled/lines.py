"""Texts without labels, one a line: for tasks that learn from text alone, such as unsupervised SimCSE."""

import functools
from collections.abc import Iterator

from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

TEXT = "text"


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    encoding: str = "utf-8",
) -> Labelled:
    """Records with the column `text`; empty lines are passed over.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive.
      encoding: of the files.

    Raises:
      DataError: nothing to read.
    """
    records = functools.partial(_records, encoding)
    return _files.labelled("lines", {"train": train, "dev": dev, "test": test}, (".txt",), records)


def _records(encoding: str, files: Iterator[File]) -> Iterator[Record]:
    for file in files:
        for where, line in _files.lines(file, encoding):
            yield Record({TEXT: line.strip()}, where)

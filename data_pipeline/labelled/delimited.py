"""Tables with one record a line: comma- or tab-separated values, plain or packed."""

import contextlib
import csv
import functools
import sys
from collections.abc import Iterator
from typing import Literal

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

_ENDINGS = (".tsv", ".csv", ".txt")


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    header: bool = True,
    columns: tuple[str, ...] = (),
    delimiter: str = "",
    quoting: Literal["auto", "double", "none"] = "auto",
    encoding: str = "utf-8",
) -> Labelled:
    """Tables; every value is text.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive
        ("sick.zip/sick/train.tsv").
      header: the first line of every file names the columns.
      columns: their names, where there is no header or other names are wanted.
      delimiter: what stands between two columns; by default a comma in .csv files and else a tab.
      quoting: "double": a value in double quotes may hold delimiters and line ends, and two quotes in it are one;
        "none": a quote is text like any other; "auto": "none" with tabs, as in GLUE, and else "double".
      encoding: of the files.

    Raises:
      ConfigError: no names for the columns, or a delimiter that cannot be one.
      DataError: nothing to read; while reading: a line with another number of columns, or a quote that is never
        closed.
    """
    if not header and not columns:
        raise ConfigError("delimited.columns is empty: name the columns of files without a header, or set header=True")
    if len(delimiter) > 1 or delimiter in ('"', "\n", "\r"):
        raise ConfigError(f"delimited.delimiter={delimiter!r} is not one character that can stand between columns")
    _check_names("delimited.columns", columns)
    records = functools.partial(_records, header, columns, delimiter, quoting, encoding)
    return _files.labelled("delimited", {"train": train, "dev": dev, "test": test}, _ENDINGS, records)


def _records(
    header: bool, columns: tuple[str, ...], delimiter: str, quoting: str, encoding: str, files: Iterator[File]
) -> Iterator[Record]:
    for file in files:
        comma = ".csv" in file.name[-8:]  # .csv.gz too
        rows = _rows(file, delimiter or ("," if comma else "\t"), quoting, encoding)
        names = columns
        if header:
            where, first = next(rows, (file.name, []))
            names = names or tuple(first)
            _check_names(where, names)
        for where, row in rows:
            if len(row) != len(names):
                raise DataError(
                    f"{where}: {len(row)} columns where there are {len(names)} names ({', '.join(names)}); mend the"
                    " line, or set delimited.delimiter or quoting"
                )
            yield Record(dict(zip(names, row, strict=True)), where)


def _check_names(where: str, names: tuple[str, ...]) -> None:
    twice = next((name for name in names if names.count(name) > 1 or not name), None)
    if twice is not None:
        said = f"the column {twice!r} twice" if twice else "a column without a name"
        raise DataError(f"{where} has {said}; name the columns by delimited.columns")


def _rows(file: File, delimiter: str, quoting: str, encoding: str) -> Iterator[tuple[str, list[str]]]:
    """The rows that are not blank, each after where it starts."""
    if quoting == "none" or (quoting == "auto" and delimiter == "\t"):
        for where, line in _files.lines(file, encoding):
            yield where, line.split(delimiter)
        return
    lines = _files.decode(file, encoding).split("\n")
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, strict=True)
    start = 1
    with _fields_of_any_length():
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"{file.name}:{start}: {error}; mend the quotes, or set delimited.quoting='none' where"
                    " they are text"
                ) from None
            if row is None:
                return
            if any(value.strip() for value in row):
                yield f"{file.name}:{start}", row
            start = reader.line_num + 1


@contextlib.contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Without the module's limit of 131,072 characters a value, less than some documents have."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)

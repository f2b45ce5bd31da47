"""Texts sorted by their class: a folder a class with a text a file, or a file a class with a text a line.

Read from folders, or within a .zip or .tar archive without unpacking it to disk.
"""

import fnmatch
import functools
from collections.abc import Iterator
from typing import Literal

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

TEXT = "text"


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    form: Literal["files", "lines"] = "files",
    classes: tuple[str, ...] = (),
    suffix: str = ".txt",
    encoding: str = "utf-8",
) -> Labelled:
    """Records with the columns `text` and `label`.

    Args:
      train, dev, test: folders, files and patterns, local or remote, also inside an archive
        ("aclImdb_v1.tar.gz/aclImdb/train").
      form: "files": a text a file, whose folder's name is the label; "lines": a text a line, and the file's name
        without its suffix is the label.
      classes: the labels, where other folders or files are to be left out; with form="lines" each may name its
        file by a pattern: ("negative=*.neg", "positive=*.pos").
      suffix: the end of the names that are read, except files named by a pattern.
      encoding: of the files.

    Raises:
      ConfigError: a pattern with form="files", or a class that is named twice.
      DataError: nothing to read; while reading: a class without a text.
    """
    patterns = {label: pattern for label, _, pattern in (name.partition("=") for name in classes)}
    if len(patterns) < len(classes):
        raise ConfigError(f"folders.classes={classes!r} names a class twice; name each once")
    if form == "files" and any(patterns.values()):
        raise ConfigError(f"folders.classes={classes!r} has a pattern, which is for form='lines'; give names")
    endings = ("",) if any(patterns.values()) else (suffix,)
    by_name = {label: pattern or f"{label}{suffix}" for label, pattern in patterns.items()}
    read = _files_as_texts if form == "files" else _lines_as_texts
    records = functools.partial(_records, functools.partial(read, suffix, by_name, encoding), tuple(patterns))
    return _files.labelled("folders", {"train": train, "dev": dev, "test": test}, endings, records)


def _records(
    read: functools.partial[Iterator[Record]], classes: tuple[str, ...], files: Iterator[File]
) -> Iterator[Record]:
    seen: set[str] = set()
    for file in files:
        for record in read(file):
            seen.add(record.values["label"])
            yield record
    missing = [label for label in classes if label not in seen]
    if missing:
        found = f"there are: {', '.join(sorted(seen)) or 'none'}"
        raise DataError(f"folders.classes: no text is of the class {missing[0]!r} ({found}); check names and patterns")


def _files_as_texts(suffix: str, classes: dict[str, str], encoding: str, file: File) -> Iterator[Record]:
    label = file.name.split("/")[-2] if "/" in file.name else ""
    if not classes or label in classes:
        yield Record({"text": _files.decode(file, encoding).strip(), "label": label}, file.name)


def _lines_as_texts(suffix: str, classes: dict[str, str], encoding: str, file: File) -> Iterator[Record]:
    name = file.name.split("/")[-1]
    stem = name.removesuffix(suffix)
    label = next((label for label, pattern in classes.items() if fnmatch.fnmatchcase(name, pattern)), None)
    if classes and label is None:
        return
    for where, line in _files.lines(file, encoding):
        yield Record({"text": line.strip(), "label": stem if label is None else label}, where)

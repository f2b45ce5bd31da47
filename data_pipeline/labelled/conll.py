"""Words and their tags in columns, one word a line and a blank line between sentences, as the CoNLL tasks have it."""

import functools
import re
from collections.abc import Callable, Iterator

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

TEXT = "words"

_ENDINGS = (".conll", ".conllu", ".bio", ".iob", ".txt", ".tsv")
_DOCUMENT = "-DOCSTART-"  # CoNLL 2003's mark between documents, a sentence of its own


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    word_column: int = 0,
    tag_column: int = -1,
    separator: str = "",
    comment: str = "",
    drop: str = "",
    encoding: str = "utf-8",
) -> Labelled:
    """Sentences with the columns `words` and `tags`, lists of text.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive.
      word_column, tag_column: from 0; -1 is the last.
      separator: what stands between columns; by default every run of spaces and tabs.
      comment: what lines start with that are left out ("# " in CoNLL-U).
      drop: regular expression of what is left out of words (r"\\d$" for the digit after each character of Weibo NER).
      encoding: of the files.

    Raises:
      ConfigError: `drop` is no regular expression.
      DataError: nothing to read; while reading: a line with too few columns, an empty word or tag.
    """
    try:
        dropped = re.compile(drop) if drop else None
    except re.error as error:
        raise ConfigError(f"conll.drop={drop!r} is no regular expression: {error}") from None
    cut = functools.partial(str.split, sep=separator) if separator else _at_spaces
    columns = (word_column, tag_column)
    records = functools.partial(_records, columns, cut, comment, dropped, encoding)
    return _files.labelled("conll", {"train": train, "dev": dev, "test": test}, _ENDINGS, records)


def _records(
    columns: tuple[int, int],
    cut: Callable[[str], list[str]],
    comment: str,
    dropped: re.Pattern[str] | None,
    encoding: str,
    files: Iterator[File],
) -> Iterator[Record]:
    for file in files:
        words: list[str] = []
        tags: list[str] = []
        start = 0
        for number, line in enumerate([*_files.decode(file, encoding).split("\n"), ""], 1):
            if not line.strip(" \t\r"):
                if words and words != [_DOCUMENT]:
                    yield Record({"words": words, "tags": tags}, f"{file.name}:{start}")
                words, tags = [], []
            elif not (comment and line.startswith(comment)):
                start = start if words else number
                word, tag = _columns(f"{file.name}:{number}", line.strip("\r"), cut, columns)
                words.append(dropped.sub("", word) if dropped else word)
                tags.append(tag)
                if not words[-1] or not tag:
                    raise DataError(f"{file.name}:{number}: an empty word or tag in {line!r:.60}; mend the line")


def _at_spaces(line: str) -> list[str]:
    return re.split("[ \t]+", line.strip(" \t"))


def _columns(where: str, line: str, cut: Callable[[str], list[str]], columns: tuple[int, int]) -> tuple[str, str]:
    values = cut(line)
    count = len(values)
    if not all(-count <= column < count for column in columns) or columns[0] % count == columns[1] % count:
        raise DataError(
            f"{where}: {count} columns in {line!r:.60}; the word is in column {columns[0]} and the tag in column"
            f" {columns[1]}: mend the line, or set conll.word_column, tag_column or separator"
        )
    return values[columns[0]], values[columns[1]]

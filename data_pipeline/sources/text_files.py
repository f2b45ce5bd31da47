"""Plain text files in UTF-8."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from data_pipeline.sources import PART_BYTES, Document, Part, Source, _files

_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


def build(
    downloads: Path,
    *,
    paths: str | tuple[str, ...] = (),
    documents: Literal["blank_line", "file"] = "blank_line",
    suffix: str = ".txt",
) -> Source:
    """Text files.

    Args:
      paths: files, folders and patterns ("corpus/**/*.txt"), local or remote.
      documents: a blank line stands between two documents, or every file is one.
      suffix: the end of the names that are read of a folder.

    Raises:
      DataError: nothing to read; while reading: a binary file or invalid UTF-8.
    """
    del downloads
    files = _files.find("text_files.paths", paths, (suffix,))
    inputs = _files.inputs(files)
    parts = _blocks if documents == "blank_line" else _whole_files
    return Source(
        size=sum(size for _, size, _ in inputs),
        parts=functools.partial(parts, tuple((name, size) for name, size, _ in inputs)),
        about=f"{len(files)} text files, {sum(size for _, size, _ in inputs) / 1e6:.1f} MB",
        inputs=inputs,
    )


def _blocks(files: tuple[tuple[str, int], ...]) -> Iterator[Part]:
    from etils import epath

    for name, _ in files:
        with epath.Path(name).open("rb") as file:
            for offset, block in _files.blocks(file, _last_blank_line, cut_long=True):
                yield Part(len(block), functools.partial(_documents, name, offset, block))


def _last_blank_line(block: bytes) -> int:
    end = max(block.rfind(b"\n\n") + 2, block.rfind(b"\n\r\n") + 3)
    return end if end > 2 else 0


def _documents(name: str, offset: int, block: bytes) -> Iterator[Document]:
    text = _files.decode(block, name, offset)
    position = offset + len(block) - len(text.encode())  # past a byte-order mark
    start = 0
    for blank in [*_BLANK_LINES.finditer(text), None]:
        document = text[start : blank.start() if blank else len(text)].rstrip()
        if document:
            margin = len(document) - len(document.lstrip())
            yield Document(f"{name}@{position + len(document[:margin].encode())}", document[margin:])
        if blank:
            position += len(text[start : blank.end()].encode())
            start = blank.end()


def _whole_files(files: tuple[tuple[str, int], ...]) -> Iterator[Part]:
    batch: list[str] = []
    total = 0
    for name, size in files:
        batch.append(name)
        total += size
        if total >= PART_BYTES:
            yield Part(total, functools.partial(_read_whole, tuple(batch)))
            batch, total = [], 0
    if batch:
        yield Part(total, functools.partial(_read_whole, tuple(batch)))


def _read_whole(names: tuple[str, ...]) -> Iterator[Document]:
    from etils import epath

    for name in names:
        with epath.Path(name).open("rb") as file:
            for offset, block in _files.blocks(file, _only_when_long, cut_long=True):
                if text := _files.decode(block, name, offset).strip():
                    yield Document(name if offset == 0 else f"{name}@{offset}", text)


def _only_when_long(block: bytes) -> int:
    del block
    return 0

"""JSON-lines: one object a line with the text in one of its fields; plain, gzip or zstd by the name's end."""

import functools
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, Part, Source, _files

LONGEST_LINE = 128 << 20  # bytes


def build(
    downloads: Path, *, paths: str | tuple[str, ...] = (), text_field: str = "text", id_field: str = ""
) -> Source:
    """JSON-lines files.

    Args:
      paths: files, folders and patterns ("corpus/*.jsonl.gz"), local or remote.
      text_field: the field that holds the text.
      id_field: the field that names the document; without it the name is file and byte offset.

    Raises:
      DataError: nothing to read; while reading: a line that is not an object with such a text.
    """
    del downloads
    endings = tuple(f".{name}{packed}" for name in ("jsonl", "ndjson", "json") for packed in ("", ".gz", ".zst"))
    files = _files.find("json_lines.paths", paths, endings)
    inputs = _files.inputs(files)
    size = sum(size for _, size, _ in inputs)
    return Source(
        size=size,
        parts=functools.partial(_parts, tuple((name, size) for name, size, _ in inputs), text_field, id_field),
        about=f"{len(files)} JSON-lines files, {size / 1e6:.1f} MB on disk",
        inputs=inputs,
    )


def _parts(files: tuple[tuple[str, int], ...], text_field: str, id_field: str) -> Iterator[Part]:
    from etils import epath

    for name, size in files:
        with epath.Path(name).open("rb") as packed, _files.unpacked(name, packed) as file:
            done = 0
            try:
                for offset, block in _files.blocks(file, functools.partial(_last_line, name), cut_long=False):
                    position = min(packed.tell(), size)  # progress counts the bytes on disk
                    read = functools.partial(_documents, name, offset, block, text_field, id_field)
                    yield Part(position - done, read)
                    done = position
            except (EOFError, gzip.BadGzipFile, OSError) as error:
                raise DataError(f"{name} cannot be unpacked: {error}; fetch it again") from None


def _last_line(name: str, block: bytes) -> int:
    end = block.rfind(b"\n") + 1
    if not end and len(block) > LONGEST_LINE:
        raise DataError(f"{name} has a line above {LONGEST_LINE >> 20} MiB; is it JSON-lines, one object a line?")
    return end


def _documents(name: str, offset: int, block: bytes, text_field: str, id_field: str) -> Iterator[Document]:
    text = _files.decode(block, name, offset)
    for line in text.split("\n"):
        if line.strip():
            yield _document(f"{name}@{offset}", line, text_field, id_field)
        offset += len(line.encode()) + 1


def _document(place: str, line: str, text_field: str, id_field: str) -> Document:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: this line is not JSON ({error})") from None
    for field in (text_field, *([id_field] if id_field else [])):
        if not isinstance(record, dict) or field not in record:
            fields = ", ".join(record) if isinstance(record, dict) else "not an object"
            raise DataError(f"{place}: this line has no field {field!r} ({fields}); set json_lines.text_field")
    if not isinstance(record[text_field], str):
        raise DataError(f"{place}: field {text_field!r} holds no text but {record[text_field]!r:.40}")
    return Document(str(record[id_field]) if id_field else place, record[text_field])

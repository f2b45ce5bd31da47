"""The row index: the spans of every row of a split, computed once and then memory-mapped from disk.

A run on a large store opens it at once and holds little of it in memory. The folder is named by
what it was made of (store, split, format, options, length), written under a temporary name and
renamed when whole; where the store cannot be written, it goes to a cache folder.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import uuid
from typing import Any

import numpy as np

from configuration.variants import Variant, load
from data_pipeline.batches.pieces import RowTable
from data_pipeline.errors import DataError
from data_pipeline.rows import RowFormat, specials
from data_pipeline.store import Split, read_manifest
from data_pipeline.store.remote import cache_folder

_VERSION = 2
_ARRAYS: dict[str, np.dtype] = {
    "rows": np.dtype("<u8"),
    "starts": np.dtype("<u8"),
    "lengths": np.dtype("<u4"),
    "documents": np.dtype("<u4"),
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a row format makes of a split."""

    rows: int  # R
    pieces: int  # P
    tokens: int  # of text, specials not counted
    padding: float  # share of padding in all rows
    cut_documents: float  # share of the documents that do not stand whole in one row
    used: float  # tokens in rows for each of the split's; below 1 where a format leaves some out
    row_lengths: tuple[int, ...]  # [L+1], rows of each length in tokens, specials counted


@dataclasses.dataclass(frozen=True)
class RowIndex(RowTable):
    """The rows that a format made of a split."""

    format: RowFormat
    facts: Facts


def open_index(split: Split, rows_format: Variant, length: int, isolate: bool) -> RowIndex:
    """Opens the index of these rows, made first if there is none.

    Raises:
      ConfigError: no such format, or an option that it does not have.
      DataError: a split without documents, or rows of fewer than 8 tokens.
    """
    if length < 8:
        raise DataError(f"the row length is {length} tokens; rows need at least 8")
    if not split.shards:
        raise DataError("the split has no documents; prepare the store with more text or another data.held_out")
    row_format = load("data_pipeline.rows", rows_format)(length, isolate)
    store = split.shards[0].path.parent
    key = {
        "version": _VERSION,
        "store": read_manifest(store).fingerprint,
        "shards": [shard.facts.name for shard in split.shards],
        "format": rows_format.name,
        "options": dict(sorted(rows_format.options.items())),
        "length": length,
        "isolate": isolate,
    }
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    name = f"{split.shards[0].facts.split}-{rows_format.name}-{length}-{digest}"
    homes = [store / "rows", cache_folder() / "rows"]
    for home in homes:
        if _is_whole(home / name, key):
            if _is_intact(home / name, _stamps(home / name)):
                return _mapped(home / name, row_format, length)
            print(f"the row index {home / name} is damaged; it is made again", file=sys.stderr)
            shutil.rmtree(home / name, ignore_errors=True)
    home = next((h for h in homes if _writable(h)), homes[-1])
    _make(home / name, key, split, row_format, length)
    return _mapped(home / name, row_format, length)


def _make(folder: pathlib.Path, key: dict[str, Any], split: Split, row_format: RowFormat, length: int) -> None:
    building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        building.mkdir(parents=True)
        facts = _write(building, split, row_format, length)
        if not facts.rows:
            raise DataError(
                f"the split's text makes no row of {length} tokens in this format; prepare the store with more text"
            )
        contents = {"key": key, "facts": dataclasses.asdict(facts), "sha256": _digests(building)}
        with open(building / "index.json", "w") as file:
            file.write(json.dumps(contents))
            file.flush()
            os.fsync(file.fileno())
        if folder.exists() and not _is_whole(folder, key):
            shutil.rmtree(folder)
        try:
            building.rename(folder)
        except OSError:
            if not _is_whole(folder, key):  # else another process was faster
                raise
    except OSError as error:
        raise _unwritable(folder, error) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _unwritable(folder: pathlib.Path, error: OSError) -> DataError:
    remedy = "free some space, or name a cache folder in XDG_CACHE_HOME"
    return DataError(f"cannot write the row index {folder}: {error.strerror}; {remedy}")


def _write(folder: pathlib.Path, split: Split, row_format: RowFormat, length: int) -> Facts:
    """Streams the rows of every shard into one file an array, counting as they pass."""
    row_lengths = np.zeros(length + 1, np.int64)
    rows = pieces = tokens = token_base = document_base = cut = 0

    def append(name: str, array: np.ndarray) -> None:
        with open(folder / f"{name}.bin", "ab") as file:
            file.write(array.astype(_ARRAYS[name]).tobytes())

    append("rows", np.zeros(1))
    for shard in split.shards:
        touched = np.zeros(len(shard.document_offsets) - 1, np.uint8)  # rows of each document, 2 for more
        for spans in row_format.spans(shard):
            firsts = np.cumsum(spans.counts) - spans.counts
            append("rows", pieces + firsts + spans.counts)
            append("starts", token_base + spans.starts)
            append("lengths", spans.lengths)
            append("documents", document_base + spans.documents[firsts])
            lengths = np.add.reduceat(spans.lengths, firsts)
            row_lengths += np.bincount(lengths + specials(spans.counts, row_format.opening), minlength=length + 1)
            in_row = np.repeat(np.arange(len(firsts)), spans.counts)
            _count(touched, spans.documents[np.append(True, (np.diff(spans.documents) | np.diff(in_row)) != 0)])
            rows, pieces, tokens = rows + len(spans.counts), pieces + len(spans.starts), tokens + int(lengths.sum())
        cut += int(np.count_nonzero(touched > 1))
        token_base += len(shard.tokens)
        document_base += len(touched)
    filled = int(row_lengths @ np.arange(length + 1))
    return Facts(
        rows=rows,
        pieces=pieces,
        tokens=tokens,
        padding=1 - filled / (rows * length) if rows else 0.0,
        cut_documents=cut / max(1, document_base),
        used=tokens / max(1, token_base),
        row_lengths=tuple(row_lengths.tolist()),
    )


def _count(touched: np.ndarray, documents: np.ndarray) -> None:
    first = documents.min()
    counts = np.bincount(documents - first)
    window = touched[first : first + len(counts)]
    window[:] = np.minimum(window + counts, 2)


def _mapped(folder: pathlib.Path, row_format: RowFormat, length: int) -> RowIndex:
    facts = json.loads((folder / "index.json").read_text())["facts"]
    arrays = {name: _map(folder / f"{name}.bin", dtype) for name, dtype in _ARRAYS.items()}
    found = Facts(**{**facts, "row_lengths": tuple(facts["row_lengths"])})
    return RowIndex(length=length, **arrays, format=row_format, facts=found)


def _map(path: pathlib.Path, dtype: np.dtype) -> np.ndarray:
    return np.asarray(np.memmap(path, dtype, mode="r"))


def _is_whole(folder: pathlib.Path, key: dict[str, Any]) -> bool:
    try:
        made = json.loads((folder / "index.json").read_text())
        counts = {"rows": made["facts"]["rows"] + 1, "documents": made["facts"]["rows"]}
        sizes = {name: counts.get(name, made["facts"]["pieces"]) * dtype.itemsize for name, dtype in _ARRAYS.items()}
        return made["key"] == key and all(
            (folder / f"{name}.bin").stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _digests(folder: pathlib.Path) -> dict[str, str]:
    """The SHA-256 of each array's file, which is then synced to disk."""
    digests = {}
    for name in _ARRAYS:
        with open(folder / f"{name}.bin", "rb") as file:
            os.fsync(file.fileno())
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _stamps(folder: pathlib.Path) -> tuple[int, ...]:
    """When each array's file was last written, in nanoseconds."""
    return tuple((folder / f"{name}.bin").stat().st_mtime_ns for name in _ARRAYS)


@functools.cache
def _is_intact(folder: pathlib.Path, stamps: tuple[int, ...]) -> bool:
    """Whether the arrays are unchanged: a flipped bit would train on other rows.

    Read whole once a process; again only where `stamps` say that a file was written since.
    """
    del stamps
    try:
        return json.loads((folder / "index.json").read_text())["sha256"] == _digests(folder)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _writable(folder: pathlib.Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False

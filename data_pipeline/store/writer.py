"""Writing a store: shards piece by piece, the manifest last. `data_pipeline.store` has the format."""

import collections
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from configuration.files import atomic_write, named, write_bytes
from data_pipeline.errors import DataError
from data_pipeline.store import (
    SPLITS,
    Kind,
    Manifest,
    Shard,
    ShardFacts,
    Store,
    describe_file,
    layout,
    offset_dtype,
    token_dtype,
)
from data_pipeline.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Piece:
    """Tokenised documents on their way into a shard: n tokens, s sentences, d documents."""

    tokens: np.ndarray  # [n] uint16 or uint32
    annotations: Mapping[str, np.ndarray]  # [n] bool (starts) or uint8 (labels), by name
    sentence_lengths: np.ndarray  # [s] in tokens
    document_lengths: np.ndarray  # [d] in sentences
    ids: Sequence[str]  # [d]


class ShardWriter:
    """Writes one shard piece by piece; it gets its name when it is complete.

    with ShardWriter(folder, "train", 0, source=0, vocab_size=8000) as writer:
        writer.append(piece)
    facts = writer.facts        # None where there was no document: no file either
    """

    def __init__(self, folder: Path, split: str, number: int, *, source: int, vocab_size: int):
        self.name = f"{split}-{number:05d}"
        self.facts: ShardFacts | None = None
        self._split, self._source, self._vocab_size = split, source, vocab_size
        self._path = folder / f"{self.name}.shard"
        self._annotations: dict[str, _Column] = {}
        self._sentences = [np.zeros(1, np.uint64)]
        self._documents = [np.zeros(1, np.uint64)]
        self._ids: list[str] = []
        self._tokens = 0

    def __enter__(self) -> "ShardWriter":
        self._open = contextlib.ExitStack()
        self._file = self._open.enter_context(atomic_write(self._path))
        return self

    def append(self, piece: Piece) -> None:
        with named(self._path):
            self._file.write(piece.tokens.astype(token_dtype(self._vocab_size), copy=False).tobytes())
        for name, values in piece.annotations.items():
            self._annotations.setdefault(name, _Column()).append(values)
        self._sentences.append(piece.sentence_lengths.astype(np.uint64))
        self._documents.append(piece.document_lengths.astype(np.uint64))
        self._ids.extend(piece.ids)
        self._tokens += piece.tokens.size

    def __exit__(self, error: type[BaseException] | None, value: BaseException | None, trace: Any) -> None:
        with self._open:  # the file goes with whatever is raised here
            if value is not None:
                raise value
            if self._ids:
                self._finish()
        if not self._ids:
            self._path.unlink()

    def _finish(self) -> None:
        sentences, documents = np.concatenate(self._sentences), np.concatenate(self._documents)
        self.facts = ShardFacts(
            self.name,
            self._split,
            self._source,
            documents=len(self._ids),
            sentences=sentences.size - 1,
            tokens=self._tokens,
            annotations={name: column.kind for name, column in self._annotations.items()},
        )
        offsets = offset_dtype(self._tokens)
        sections = {
            **{name: column.section() for name, column in self._annotations.items()},
            "sentence_offsets": np.cumsum(sentences).astype(offsets),
            "document_offsets": np.cumsum(documents).astype(offsets),
            "ids": np.frombuffer("".join(f"{_one_line(i)}\n" for i in self._ids).encode(), np.uint8),
        }
        for name, values in sections.items():
            start = layout(self.facts, self._vocab_size)[name][0]
            self._file.write(bytes(start - self._file.tell()))
            self._file.write(values.tobytes())


class _Column:
    """The section of an annotation, put together from the values of pieces."""

    def __init__(self) -> None:
        self.kind: Kind = "labels"
        self._parts: list[np.ndarray] = []
        self._spare_bits = np.zeros(0, bool)  # fewer than eight, not yet packed

    def append(self, values: np.ndarray) -> None:
        """bool or uint8 [n]."""
        if values.dtype != bool:
            self._parts.append(values)
            return
        self.kind = "starts"
        bits = np.concatenate([self._spare_bits, values])
        whole = bits.size // 8 * 8
        self._parts.append(np.packbits(bits[:whole], bitorder="little"))
        self._spare_bits = bits[whole:]

    def section(self) -> np.ndarray:
        """uint8: the section's bytes."""
        return np.concatenate([*self._parts, np.packbits(self._spare_bits, bitorder="little")])


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().splitlines())


def write_manifest(
    folder: Path, *, vocab_size: int, shards: Sequence[ShardFacts], tokenizer: str, made: Mapping[str, Any]
) -> Manifest:
    """Counts the tokens, describes every file of the folder and writes `manifest.json`: the last step of a store."""
    counts = np.zeros(vocab_size, np.uint64)
    for shard in open_shards(folder, shards, "train", vocab_size):
        counts += count_tokens(shard)
    write_bytes(folder / "token_counts", counts.astype("<u8").tobytes())
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    manifest = Manifest(
        vocab_size=vocab_size,
        tokenizer=tokenizer,
        shards=in_order(shards),
        files={path.relative_to(folder).as_posix(): describe_file(path) for path in files},
        made=made,
    )
    with atomic_write(folder / "manifest.json") as file:
        file.write(manifest.to_json().encode())
    return manifest


def open_shards(folder: Path, shards: Iterable[ShardFacts], split: str, vocab_size: int) -> list[Shard]:
    """The shards of a split of a store that is being written, in the order of its manifest."""
    wanted = [facts for facts in in_order(shards) if facts.split == split]
    return [Shard(folder / f"{facts.name}.shard", facts, vocab_size, 0) for facts in wanted]


def in_order(shards: Iterable[ShardFacts]) -> tuple[ShardFacts, ...]:
    """As a manifest lists them."""
    return tuple(sorted(shards, key=lambda facts: (SPLITS.index(facts.split), facts.name)))


def count_tokens(shard: Shard) -> np.ndarray:
    """uint64 [V]: how often each id occurs."""
    counts = np.zeros(shard.vocab_size, np.uint64)
    for start in range(0, shard.tokens.size, 1 << 22):  # bincount makes 64-bit copies: keep them small
        part = shard.tokens[start : start + (1 << 22)]
        counts += np.bincount(part, minlength=shard.vocab_size).astype(np.uint64)
    return counts


def write_store(
    path: str | os.PathLike[str],
    documents: Mapping[str, Iterable[Sequence[Sequence[int]]]],
    *,
    vocab_size: int,
    word_starts: np.ndarray | None = None,
    annotations: Mapping[str, np.ndarray] = MappingProxyType({}),
    tokenizer: Tokenizer | None = None,
    documents_per_shard: int = 1 << 30,
) -> Store:
    """Writes token ids that are in memory as a store: a document is a sequence of sentences, a sentence of ids.

    Args:
      documents: by split name.
      word_starts: [V] bool, which ids start a word; all do without it.
      annotations: further ones by name, [V] bool or uint8: what is said of each id.
      tokenizer: saved with the store; without one the store cannot be decoded.
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"{path} exists already; give another name or remove it")
    folder = path.with_name(f".{path.name}.{os.getpid()}.writing")
    folder.mkdir(parents=True)
    try:
        starts = np.ones(vocab_size, bool) if word_starts is None else word_starts
        tables = {"word_starts": starts, **annotations}
        shards = []
        numbers: dict[str, int] = collections.defaultdict(int)
        for split in SPLITS:
            for batch in _batched(documents.get(split, ()), documents_per_shard):
                with ShardWriter(folder, split, numbers[split], source=0, vocab_size=vocab_size) as writer:
                    writer.append(_piece(batch, tables))
                numbers[split] += 1
                shards.append(writer.facts)
        if tokenizer is not None:
            tokenizer.save(folder / "tokenizer")
        write_manifest(
            folder,
            vocab_size=vocab_size,
            shards=[facts for facts in shards if facts is not None],
            tokenizer=tokenizer.fingerprint if tokenizer else "",
            made={},
        )
        os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Store.open(path)


def _batched(documents: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for document in documents:
        batch.append(document)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _piece(documents: Sequence[Sequence[Sequence[int]]], tables: Mapping[str, np.ndarray]) -> Piece:
    sentences = [sentence for document in documents for sentence in document]
    tokens = np.array([token for sentence in sentences for token in sentence], np.uint32)
    return Piece(
        tokens=tokens,
        annotations={name: table[tokens] for name, table in tables.items()},
        sentence_lengths=np.array([len(sentence) for sentence in sentences], np.uint32),
        document_lengths=np.array([len(document) for document in documents], np.uint32),
        ids=[str(i) for i in range(len(documents))],
    )

"""The store: tokenised text on disk, prepared once, read by every row format at every length.

A store is a folder that is complete and never changes after:

    manifest.json       what is in it, how it was made, size and checksum of every file
    tokenizer/          the tokenizer that made the ids
    token_counts        V numbers, uint64: how often each id occurs in the train split
    train-00000.shard   … and held_out-00000.shard …

A shard of n tokens, s sentences and d documents is one flat file of little-endian sections,
each starting at a multiple of eight bytes:

    tokens              n ids, uint16 where the vocabulary has at most 65,536 pieces, else uint32
    annotations         one section each, in the order of the manifest: n bits, the lowest bit of a byte first, where
                        the kind is "starts" (this token starts a unit), or n bytes where it is "labels"
    sentence offsets    s + 1 positions in tokens, uint32 (uint64 from 2^32 tokens)
    document offsets    d + 1 positions in the sentence offsets, of the same type
    document ids        d lines of UTF-8

The tokens are pieces of text only: rows add [CLS] and [SEP]. Shards never mix two sources. Every store has the
annotation `word_starts`; the others are those of `config.data.annotations` (data_pipeline/annotations).

A store on a remote path is read through a local cache (data_pipeline/store/remote.py).
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configuration import foreign
from data_pipeline.errors import DataError
from data_pipeline.store import remote
from data_pipeline.tokenizers import Tokenizer, load_tokenizer

VERSION = 2
SPLITS = ("train", "held_out")
Verify = Literal["size", "once", "checksums"]
Kind = Literal["starts", "labels"]  # of an annotation: a bit or a byte a token
LARGEST_MANIFEST = 1 << 29  # bytes; a manifest takes about 300 a shard
ALIGNMENT = 8  # bytes; every section starts at a multiple


@dataclasses.dataclass(frozen=True)
class ShardFacts:
    """What the manifest says of one shard."""

    name: str
    split: str
    source: int  # position in the configuration's sources
    documents: int
    sentences: int
    tokens: int
    annotations: Mapping[str, Kind]  # in the order of their sections; the same in all shards of a store


@dataclasses.dataclass(frozen=True)
class FileFacts:
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`."""

    vocab_size: int
    tokenizer: str  # its fingerprint
    shards: tuple[ShardFacts, ...]
    files: Mapping[str, FileFacts]  # by path relative to the store
    made: Mapping[str, Any]  # the data configuration, the sources' facts, what cleaning removed

    def to_json(self) -> str:
        """The text of the file; it carries the SHA-256 of its own contents."""
        contents = {"format": "bert_jax store", "version": VERSION} | dataclasses.asdict(self)
        return json.dumps(contents | {"sha256": _contents_hash(contents)}, indent=1, ensure_ascii=False) + "\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal of all that the manifest says, so of every byte of the store."""
        return json.loads(self.to_json())["sha256"]


_FIELDS = tuple(field.name for field in dataclasses.fields(Manifest))


def _contents_hash(contents: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """The manifest of a store, local or remote.

    Raises:
      DataError: there is none, of another format version, or damaged.
    """
    return _parse_manifest(path, _manifest_bytes(path))


def _manifest_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        if remote.is_remote(path):
            return remote.read(os.fspath(path), "manifest.json", LARGEST_MANIFEST)
        file = Path(path) / "manifest.json"
        if reason := foreign.why_not_read(file, LARGEST_MANIFEST):
            raise DataError(f"{file} is no manifest: it is {reason}")
        return file.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} is not a store: it has no manifest.json; data_pipeline.prepare makes one") from None


def _parse_manifest(path: str | os.PathLike[str], written: bytes) -> Manifest:
    file, remedy = f"{path}/manifest.json", "restore the store from a copy or prepare it again"
    try:
        contents = json.loads(written)
    except (ValueError, RecursionError):
        raise DataError(f"{file} is damaged: it is not JSON; {remedy}") from None
    if not isinstance(contents, dict) or contents.get("format") != "bert_jax store":
        raise DataError(f"{file} is not the manifest of a store; data_pipeline.prepare makes one")
    if (found := contents.get("version", VERSION)) != VERSION:
        raise DataError(f"{file} is of format version {found} and this code reads {VERSION}; prepare it again")
    if contents.pop("sha256", None) != _contents_hash(contents):
        raise DataError(f"{file} is damaged: its checksum differs; {remedy}")
    manifest = _typed(file, contents)
    for name in (*manifest.files, *(f"{shard.name}.shard" for shard in manifest.shards)):
        if not _stays_inside(name):
            raise DataError(f"{file} names the file {name!r}, which leaves the store's folder; do not use this store")
    return manifest


def _typed(file: str, contents: Mapping[str, Any]) -> Manifest:
    """The manifest of what its JSON holds, every field of its type."""
    import pydantic

    try:
        return pydantic.TypeAdapter(Manifest).validate_python({k: v for k, v in contents.items() if k in _FIELDS})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{file} is damaged: {where}: {first['msg']}; prepare the store again") from None


def _stays_inside(name: str) -> bool:
    """Whether a name is a path within a folder, on every system."""
    parts = name.split("/")
    return not any(part in ("", ".", "..") or any(sign in part for sign in "\\:\0") for part in parts)


def token_dtype(vocab_size: int) -> np.dtype:
    """The type of a stored id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def offset_dtype(tokens: int) -> np.dtype:
    """The type of offsets in a shard of so many tokens."""
    return np.dtype("<u4") if tokens < 1 << 32 else np.dtype("<u8")


def annotation_bytes(kind: Kind, tokens: int) -> int:
    """The size of an annotation's section."""
    return -(-tokens // 8) if kind == "starts" else tokens


def layout(facts: ShardFacts, vocab_size: int) -> dict[str, tuple[int, int, np.dtype]]:
    """Start in bytes, number of items and type of each section but the last; `ids` is the rest of the file."""
    offsets = offset_dtype(facts.tokens)
    sections = {
        "tokens": (facts.tokens, token_dtype(vocab_size)),
        **{name: (annotation_bytes(kind, facts.tokens), np.dtype("u1")) for name, kind in facts.annotations.items()},
        "sentence_offsets": (facts.sentences + 1, offsets),
        "document_offsets": (facts.documents + 1, offsets),
        "ids": (0, np.dtype("u1")),
    }
    starts, start = {}, 0
    for name, (count, dtype) in sections.items():
        starts[name] = (start, count, dtype)
        start += -(-count * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return starts


class Shard:
    """One shard, memory-mapped when first read: n tokens, s sentences, d documents.

    Args:
      wait: called before the first read; returns when the file is here.
    """

    def __init__(
        self,
        path: Path,
        facts: ShardFacts,
        vocab_size: int,
        first_document: int,
        wait: Callable[[], Any] = lambda: None,
    ):
        self.path = path
        self._wait = wait
        self.facts = facts
        self.vocab_size = vocab_size
        self.first_document = first_document  # number of its first document within the split

    @functools.cached_property
    def _bytes(self) -> np.ndarray:
        self._wait()
        return np.memmap(self.path, dtype=np.uint8, mode="r")

    def section(self, name: str) -> np.ndarray:
        """A section as the file has it; see `layout`."""
        start, count, dtype = layout(self.facts, self.vocab_size)[name]
        return self._bytes[start : start + count * dtype.itemsize].view(dtype)

    @functools.cached_property
    def tokens(self) -> np.ndarray:
        """[n] uint16 or uint32."""
        return self.section("tokens")

    @functools.cached_property
    def sentence_offsets(self) -> np.ndarray:
        """[s + 1]: sentence i is `tokens[sentence_offsets[i]:sentence_offsets[i + 1]]`."""
        return self.section("sentence_offsets")

    @functools.cached_property
    def document_offsets(self) -> np.ndarray:
        """[d + 1]: document i has sentences `document_offsets[i]` to `document_offsets[i + 1]`."""
        return self.section("document_offsets")

    def annotation(self, name: str, start: int, stop: int) -> np.ndarray:
        """[stop - start] of these tokens: bool, which of them start a unit, or uint8 labels."""
        if self.facts.annotations[name] == "labels":
            return self.section(name)[start:stop]
        packed = self.section(name)[start // 8 : -(-stop // 8)]
        return np.unpackbits(packed, bitorder="little")[start % 8 :][: stop - start].astype(bool)

    def document_ids(self) -> list[str]:
        """The d documents' names, as their source gave them."""
        start = layout(self.facts, self.vocab_size)["ids"][0]
        return self._bytes[start:].tobytes().decode().split("\n")[:-1]


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of one split, in order."""

    shards: tuple[Shard, ...]

    @property
    def documents(self) -> int:
        return sum(shard.facts.documents for shard in self.shards)

    @property
    def sentences(self) -> int:
        return sum(shard.facts.sentences for shard in self.shards)

    @property
    def tokens(self) -> int:
        return sum(shard.facts.tokens for shard in self.shards)

    def by_source(self) -> dict[int, "Split"]:
        """The same shards as one split for each source, by the source's position in the configuration."""
        sources = sorted({shard.facts.source for shard in self.shards})
        return {i: Split(tuple(shard for shard in self.shards if shard.facts.source == i)) for i in sources}


class Store:
    """A store that was opened; see the module's head for what it holds."""

    def __init__(self, path: Path, manifest: Manifest, cache: remote.Cache | None = None):
        self.path = path  # where its files are, or are fetched to
        self._cache = cache
        self.manifest = manifest
        self.vocab_size = manifest.vocab_size
        self.fingerprint = manifest.fingerprint

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: Verify = "size", *, cache_bytes: int | None = None) -> "Store":
        """Opens a store after checking it.

        Args:
          path: its folder, local or remote.
          verify: "size" is quick; "checksums" reads every byte; "once" reads every byte of files that it has not
            found whole before, on this machine and unchanged since. What is fetched is always read whole.
          cache_bytes: that stores on remote paths may take on this machine; by default nine tenths of
            what is free.

        Raises:
          DataError: no store there, another format version, or a file that is missing, cut or changed.
        """
        if remote.is_remote(path):
            return cls._open_remote(os.fspath(path), cache_bytes)
        path = Path(path)
        manifest = read_manifest(path)
        for name, facts in manifest.files.items():
            _check_file(path, name, facts, verify)
        return cls(path, manifest)

    @classmethod
    def _open_remote(cls, url: str, cache_bytes: int | None) -> "Store":
        written = _manifest_bytes(url)
        manifest = _parse_manifest(url, written)
        files = {name: (facts.bytes, facts.sha256) for name, facts in manifest.files.items()}
        cache = remote.Cache(url, written, manifest.fingerprint, files, cache_bytes)
        small = [name for name in files if not name.endswith(".shard")]
        cache.start(sorted(files, key=lambda name: name not in small))
        for name in small:
            cache.wait(name)
        return cls(cache.folder, manifest, cache)

    @property
    def annotations(self) -> Mapping[str, Kind]:
        """Names and kinds of what the store says of each token."""
        return self.manifest.shards[0].annotations if self.manifest.shards else {}

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids."""
        return load_tokenizer(self.path / "tokenizer")

    @functools.cached_property
    def token_counts(self) -> np.ndarray:
        """[V] uint64: how often each id occurs in the train split."""
        return np.fromfile(self.path / "token_counts", dtype="<u8")

    def split(self, name: str) -> Split:
        """The "train" or the "held_out" documents."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}; there are {', '.join(SPLITS)}")
        shards, documents = [], 0
        for facts in self.manifest.shards:
            if facts.split == name:
                file = f"{facts.name}.shard"
                wait = functools.partial(self._cache.wait, file) if self._cache else lambda: None
                shards.append(Shard(self.path / file, facts, self.vocab_size, documents, wait))
                documents += facts.documents
        return Split(tuple(shards))


def _check_file(path: Path, name: str, facts: FileFacts, verify: str) -> None:
    remedy = "restore the store from a copy or prepare it again"
    try:
        size = (path / name).stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path / name} is missing; {remedy}") from None
    if size != facts.bytes:
        raise DataError(f"{path / name} has {size} bytes where the manifest says {facts.bytes}; {remedy}")
    if verify == "size" or (verify == "once" and _was_whole(path / name, facts)):
        return
    if describe_file(path / name).sha256 != facts.sha256:
        raise DataError(f"{path / name} is damaged: its checksum differs from the manifest's; {remedy}")
    if verify == "once":
        _note_whole(path / name, facts)


def _was_whole(file: Path, facts: FileFacts) -> bool:
    try:
        return _note_of(file, facts).read_text() == _state(file)
    except OSError:
        return False


def _note_whole(file: Path, facts: FileFacts) -> None:
    note = _note_of(file, facts)
    with contextlib.suppress(OSError):  # without the note it is read again
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(_state(file))


def _note_of(file: Path, facts: FileFacts) -> Path:
    name = hashlib.sha256(f"{file.resolve()} {facts.sha256}".encode()).hexdigest()
    return remote.cache_folder() / "whole" / name[:32]


def _state(file: Path) -> str:
    """What changes with a file's contents, as far as its file system tells."""
    stat = file.stat()
    return f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def describe_file(path: Path) -> FileFacts:
    """Size and SHA-256 of a file."""
    with open(path, "rb") as file:
        return FileFacts(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

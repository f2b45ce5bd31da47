"""`prepare` as an Apache Beam pipeline: the same store, byte for byte, made by many machines.

    python -m data_pipeline.beam --config=configs/mine.py --output=gs://bucket/store \\
        --pipeline_options="--runner=DataflowRunner --project=… --region=… --temp_location=gs://bucket/tmp"

    sources ─▶ numbered parts ─▶ (many workers) tokens of a part ─▶ one file a part
            ─▶ by shard ─▶ (many workers) shards, their checksums and counts
            ─▶ (many workers) what they share with the held-out documents ─▶ manifest

The machine that starts the pipeline cleans the text and makes the tokenizer; one worker reads the sources and hands
out their parts, and all others encode them. Between the steps only names travel: tokens wait in files
under `<output>.preparing`, which every worker must be able to write. On a remote path the shards are
moved into place one by one, and the manifest, without which a folder is no store, comes last.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from configuration import flags as config_flags
from configuration.variants import Variant
from data_pipeline import annotations, clean, overlap
from data_pipeline.config import Data
from data_pipeline.errors import DataError
from data_pipeline.prepare import (
    check_splits,
    check_variants,
    data_from_flags,
    made_already,
    made_of,
    make_tokenizer,
    open_sources,
    source_facts,
)
from data_pipeline.preparing import held_out
from data_pipeline.preparing.encoding import EncodePart, load_pieces, write_pieces
from data_pipeline.preparing.workers import Workers
from data_pipeline.sources import Part, Source
from data_pipeline.store import SPLITS, FileFacts, Manifest, Shard, ShardFacts, Store, describe_file, remote, shards
from data_pipeline.store.writer import count_tokens, in_order
from data_pipeline.tokenizers import Tokenizer, load_tokenizer


@dataclasses.dataclass(frozen=True)
class Joined:
    """A finished shard."""

    facts: ShardFacts
    file: FileFacts
    counts: list[int]  # [V]: how often each id occurs


@dataclasses.dataclass(frozen=True)
class Encode:
    """Writes the tokens of a part to the work folder; gives its shard and source, and the file."""

    work: str
    sentences: Variant
    words: Variant
    annotations: tuple[Variant, ...]
    held_out: float

    @functools.cached_property
    def _encode(self) -> EncodePart:
        with _tokenizer_of(self.work) as folder:
            encode = EncodePart(folder, self.sentences, self.words, self.annotations, self.held_out)
            encode.tokenizer  # noqa: B018, read while the folder is there
        return encode

    def __call__(self, numbered: tuple[int, int, int, Part]) -> tuple[tuple[int, int], str]:
        shard, number, source, part = numbered
        written = io.BytesIO()
        write_pieces(written, self._encode.pieces(part))
        name = f"{self.work}/parts/{shard:05d}-{number:06d}.npz"
        _write(name, written.getvalue())
        return (shard, source), name


@dataclasses.dataclass(frozen=True)
class Join:
    """Writes the shard of each split from the files of its parts, and a `Joined` of each to the results."""

    folder: str
    results: str  # folder for what is found out about each shard
    vocab_size: int

    def __call__(self, shard_and_files: tuple[tuple[int, int], Iterable[str]]) -> None:
        (shard, source), names = shard_and_files
        with tempfile.TemporaryDirectory() as temporary:
            for facts in shards.join(_pieces(names), Path(temporary), shard, source, self.vocab_size):
                file = Path(temporary) / f"{facts.name}.shard"
                opened = Shard(file, facts, self.vocab_size, 0)
                result = Joined(facts, describe_file(file), count_tokens(opened).tolist())
                _upload(file, f"{self.folder}/{file.name}")
                _write(f"{self.results}/{facts.name}.json", json.dumps(dataclasses.asdict(result)).encode())


@dataclasses.dataclass(frozen=True)
class Meet:
    """Writes which of the held-out documents' runs of words, in `overlap/wanted` of the work folder, a shard has."""

    work: str
    folder: str
    vocab_size: int

    @functools.cached_property
    def _hasher(self) -> overlap.Hasher:
        with _tokenizer_of(self.work) as folder:
            return overlap.Hasher(load_tokenizer(folder))

    def __call__(self, facts: ShardFacts) -> None:
        wanted = np.frombuffer(_read(f"{self.work}/overlap/wanted"), "<u8")
        with _fetched(self.folder, [facts], self.vocab_size) as shards_:
            found = overlap.met(shards_, wanted, self._hasher)
        _write(f"{self.work}/overlap/{facts.name}", found.tobytes())


@contextlib.contextmanager
def _tokenizer_of(work: str) -> Iterator[Path]:
    """A folder of this machine with the tokenizer that the workers share."""
    files, root = remote.connect(f"{work}/tokenizer")
    with tempfile.TemporaryDirectory() as folder:
        for name in files.ls(root, detail=False):
            files.get_file(name, os.path.join(folder, os.path.basename(name)))
        yield Path(folder)


@contextlib.contextmanager
def _fetched(folder: str, facts: Iterable[ShardFacts], vocab_size: int) -> Iterator[list[Shard]]:
    """Finished shards on this machine."""
    files, root = remote.connect(folder)
    with tempfile.TemporaryDirectory() as temporary:
        opened = [Shard(Path(temporary) / f"{each.name}.shard", each, vocab_size, 0) for each in facts]
        for shard in opened:
            files.get_file(f"{root}/{shard.path.name}", str(shard.path))
        yield opened


def _pieces(names: Iterable[str]) -> Iterator[dict[str, Any]]:
    for name in sorted(names):
        files, path = remote.connect(name)
        with files.open(path, "rb") as file:
            yield load_pieces(io.BytesIO(file.read()))


def _read(source: str) -> bytes:
    files, path = remote.connect(source)
    return files.cat_file(path)


def _write(target: str, contents: bytes) -> None:
    files, path = remote.connect(target)
    files.makedirs(os.path.dirname(path), exist_ok=True)
    files.pipe_file(path, contents)


def _upload(file: Path, target: str) -> None:
    files, path = remote.connect(target)
    files.makedirs(os.path.dirname(path), exist_ok=True)
    files.put_file(str(file), path)


def _remove(folder: str) -> None:
    files, path = remote.connect(folder)
    if files.exists(path):
        files.rm(path, recursive=True)


def prepare(data: Data, output: str, *, options: Sequence[str] = ()) -> Store:
    """Makes the store of a configuration, or opens it if it is made already.

    Args:
      output: the store's folder, local or remote.
      options: of the pipeline, as Beam's command line takes them.

    Raises:
      As `data_pipeline.prepare.prepare`; DataError where Beam is not installed.
    """
    if (store := made_already(data, output)) is not None:
        return store
    check_variants(data)
    work = f"{output}.preparing"
    folder = output if remote.is_remote(output) else f"{work}/store"
    _remove(work)
    with tempfile.TemporaryDirectory() as temporary:
        local = Path(temporary)
        sources = open_sources(data, local / "downloads")
        made = made_of(data, sources)
        with Workers(data.workers or os.cpu_count() or 1) as workers:
            if data.cleaning:
                sources, made["cleaning"] = clean.clean(sources, data.cleaning, local / "cleaning", workers, _quiet)
            held_out.check_enough(sources, data.held_out)
            tokenizer = make_tokenizer(data, sources, local, workers, progress=False)
        annotations.build_all(data.words, data.annotations, tokenizer)  # an error now, not in every worker
        for file in sorted((local / "tokenizer").iterdir()):
            _upload(file, f"{work}/tokenizer/{file.name}")
            _upload(file, f"{folder}/tokenizer/{file.name}")
        encode = Encode(work, data.sentences, data.words, data.annotations, data.held_out)
        join = Join(folder, f"{work}/results", tokenizer.vocab_size)
        joined = _run(sources, encode, join, options)
        facts = [each.facts for each in joined]
        check_splits(facts, data.held_out)
        made["sources"] = source_facts(data, sources, list(in_order(facts)))
        made["overlap"] = _overlap(in_order(facts), Meet(work, folder, tokenizer.vocab_size), tokenizer, options)
        np.sum([each.counts for each in joined if each.facts.split == "train"], 0, "<u8").tofile(local / "token_counts")
        _upload(local / "token_counts", f"{folder}/token_counts")
        described = {f"{each.facts.name}.shard": each.file for each in joined}
        described["token_counts"] = describe_file(local / "token_counts")
        described |= {f"tokenizer/{f.name}": describe_file(f) for f in (local / "tokenizer").iterdir()}
        manifest = Manifest(
            tokenizer.vocab_size, tokenizer.fingerprint, in_order(facts), dict(sorted(described.items())), made
        )
        (local / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        _upload(local / "manifest.json", f"{folder}/manifest.json")
    if not remote.is_remote(output):
        os.rename(folder, output)
    _remove(work)
    return Store.open(output)


def _quiet(size: int) -> None:
    del size


def _overlap(facts: Sequence[ShardFacts], meet: Meet, tokenizer: Tokenizer, options: Sequence[str]) -> dict[str, int]:
    """As `overlap.measure`: the held-out shards come here, those to train on are read by the workers."""
    train, kept = ([each for each in facts if each.split == split] for split in SPLITS)
    with _fetched(meet.folder, kept, meet.vocab_size) as opened:
        looked_at = overlap.wanted(opened, overlap.Hasher(tokenizer))
    _write(f"{meet.work}/overlap/wanted", looked_at.hashes.astype("<u8").tobytes())
    with _pipeline(options) as (beam, pipeline):
        _ = pipeline | "shards" >> beam.Create(train) | "alone" >> beam.Reshuffle() | "meet" >> beam.Map(meet)
    found = [np.frombuffer(_read(f"{meet.work}/overlap/{each.name}"), bool) for each in train]
    return overlap.report(looked_at, np.any(found, axis=0))


@contextlib.contextmanager
def _pipeline(options: Sequence[str]) -> Iterator[Any]:
    """The module of Beam and a pipeline, which has ended when the block has."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise DataError("Apache Beam is not installed; pip install 'bert_jax[beam]'") from None
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        yield beam, pipeline


def _run(sources: list[Source], encode: Encode, join: Join, options: Sequence[str]) -> list[Joined]:
    """Runs the pipeline until it has ended; gives its results."""
    with _pipeline(options) as (beam, pipeline):
        _ = (
            pipeline
            | "sources" >> beam.Create([sources])
            | "parts" >> beam.FlatMap(shards.numbered)
            | "spread" >> beam.Reshuffle()
            | "encode" >> beam.Map(encode)
            | "by shard" >> beam.GroupByKey()
            | "join" >> beam.Map(join)
        )
    files, root = remote.connect(join.results)
    results = [json.loads(files.cat_file(name)) for name in files.ls(root, detail=False)] if files.exists(root) else []
    return [Joined(ShardFacts(**r["facts"]), FileFacts(**r["file"]), r["counts"]) for r in results]


def define_flags() -> None:
    """--output, --pipeline_options"""
    flags.DEFINE_string("output", None, "Folder of the store that is made, local or remote.", required=True)
    flags.DEFINE_string("pipeline_options", "", "Beam's options, such as '--runner=DataflowRunner --project=…'.")


def main() -> dict[str, Any]:
    """Prepares the store that the command line asks for and gives its figures."""
    flags_ = flags.FLAGS
    options = shlex.split(flags_.pipeline_options)
    store = prepare(data_from_flags(), flags_.output.rstrip("/"), options=options)
    splits = {name: store.split(name) for name in SPLITS}
    figures = {name: {"documents": split.documents, "tokens": split.tokens} for name, split in splits.items()}
    print(f"prepared {flags_.output}: {figures}")
    return figures


if __name__ == "__main__":
    from configuration import cli

    cli.run(main, config_flags.config_flag, define_flags)

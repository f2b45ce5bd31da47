"""Runs of parts, each encoded to a file of its own, joined to shards."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from configuration.files import atomic_write
from data_pipeline.preparing.encoding import EncodePart, Task, load_pieces
from data_pipeline.preparing.workers import Workers
from data_pipeline.sources import Part, Source
from data_pipeline.store import SPLITS, ShardFacts
from data_pipeline.store.writer import Piece, ShardWriter

SHARD_BYTES = 1 << 30  # of text; about 240 million tokens of English


def write_shards(
    sources: Sequence[Source],
    encode: EncodePart,
    vocab_size: int,
    work: Path,
    workers: Workers,
    advance: Callable[[int], None],
) -> list[ShardFacts]:
    """Writes the shards of all sources to `work/store`, leaving out what an earlier run has finished.

    Args:
      work: holds the folders `parts`, `shards` (the facts of those that are whole) and `store`.
      advance: called with the bytes of text of each part that is done.
    """
    facts: list[ShardFacts] = []
    done = workers.map(encode, _tasks(sources, work))
    for (shard, source), tasks in itertools.groupby(done, lambda task: (task.shard, task.source)):
        files = []
        for task in tasks:
            files.append(task.file)
            advance(task.size)
        facts += _joined(work, shard, source, files, vocab_size)
    return facts


def numbered(sources: Sequence[Source]) -> Iterator[tuple[int, int, int, Part]]:
    """Every part in order, as (its shard, its number within it, its source, the part).

    A shard begins where a source does, and after SHARD_BYTES.
    """
    shard = -1
    for i, source in enumerate(sources):
        filled, number = SHARD_BYTES, 0
        for part in source.parts():
            if filled >= SHARD_BYTES:
                shard, filled, number = shard + 1, 0, 0
            yield shard, number, i, part
            filled, number = filled + part.size, number + 1


def _tasks(sources: Sequence[Source], work: Path) -> Iterator[Task]:
    for shard, number, source, part in numbered(sources):
        file = work / "parts" / f"{shard:05d}-{number:06d}.npz"
        finished = file.exists() or _facts_file(work, shard).exists()
        yield Task(shard, source, file, part.size, None if finished else part)


def _facts_file(work: Path, shard: int) -> Path:
    return work / "shards" / f"{shard:05d}.json"


def _joined(work: Path, shard: int, source: int, files: Sequence[Path], vocab_size: int) -> list[ShardFacts]:
    """The facts of a shard of each split, from the files of its parts or from an earlier run."""
    facts_file = _facts_file(work, shard)
    if not facts_file.exists():
        joined = join(map(load_pieces, files), work / "store", shard, source, vocab_size)
        facts = [dataclasses.asdict(each) for each in joined]
        with atomic_write(facts_file) as opened:
            opened.write(json.dumps(facts).encode())
    for file in files:
        file.unlink(missing_ok=True)
    return [ShardFacts(**facts) for facts in json.loads(facts_file.read_text())]


def join(
    pieces: Iterable[dict[str, Piece]], folder: Path, shard: int, source: int, vocab_size: int
) -> list[ShardFacts]:
    """Writes the shard of each split from its pieces in order; gives the facts of those that have documents."""
    writers = [ShardWriter(folder, split, shard, source=source, vocab_size=vocab_size) for split in SPLITS]
    with writers[0], writers[1]:
        for by_split in pieces:
            for split, writer in zip(SPLITS, writers, strict=True):
                writer.append(by_split[split])
    return [writer.facts for writer in writers if writer.facts is not None]

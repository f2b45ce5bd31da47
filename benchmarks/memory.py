"""The memory of a process that reads batches, on a store of ten billion tokens.

    python benchmarks/memory.py --json=memory.json --png=memory.png

The store is synthetic: its tokens are a hole in a sparse file, its offsets are real. The row index is
made in one process, batches are read in another; memory is what Linux counts as resident (VmHWM),
mapped files included, above what the same process held after its imports.
"""

import concurrent.futures
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from configuration import cli
from configuration.variants import use
from data_pipeline.batches import pipeline
from data_pipeline.batches.assembly import Specials
from data_pipeline.store import FileFacts, Manifest, ShardFacts, Store, layout

FLAGS = flags.FLAGS
VOCAB_SIZE = 32_000
BLOCK = 1 << 20  # offsets written at a time
MB = 1e6


def define() -> None:
    charts.define()
    flags.DEFINE_float("tokens", 10e9, "Tokens in the store.")
    flags.DEFINE_integer("shards", 10, "Shards of the store.")
    flags.DEFINE_integer("sentence", 100, "Tokens in a sentence.")
    flags.DEFINE_integer("document", 10, "Sentences in a document.")
    flags.DEFINE_integer("batch_size", 256, "B, rows in a batch.")
    flags.DEFINE_integer("length", 512, "L, tokens in a row.")
    flags.DEFINE_integer("batches", 1000, "Batches that are read.")
    flags.DEFINE_string("folder", None, "Where the store is made, and left; a temporary folder by default.")


def main() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as temporary:
        store = str(Path(FLAGS.folder or temporary) / "store")
        if not Path(store).exists():
            make_store(Path(store), int(FLAGS.tokens), FLAGS.shards, FLAGS.sentence, FLAGS.document)
        figures = {"index": in_fresh_process(index, store, FLAGS.length)}
        for way in ("tf.data", "threads"):
            figures[way] = in_fresh_process(feed, store, FLAGS.length, FLAGS.batch_size, FLAGS.batches, way)
    print(f"{FLAGS.tokens:.3g} tokens, batches of {FLAGS.batch_size} × {FLAGS.length}")
    print(f"{'':<34}{'seconds':>9}{'MB after imports':>18}{'MB above that':>15}")
    for name, what in {
        "index": "making the row index, once",
        "tf.data": f"{FLAGS.batches} batches through tf.data",
        "threads": f"{FLAGS.batches} batches without TensorFlow",
    }.items():
        f = figures[name]
        print(f"{what:<34}{f['seconds']:>9.1f}{f['imported'] / MB:>18.0f}{f['above'] / MB:>15.0f}")
    above = {name: {"above": f["above"] / MB} for name, f in figures.items()}
    charts.bars(above, "MB above what the process held before")
    print(f"opening the run and reading the first batch: {figures['threads']['first_batch_seconds']:.2f} s")
    return figures


def make_store(path: Path, tokens: int, shards: int, sentence: int, document: int) -> None:
    """Writes a store whose token sections are holes."""
    path.mkdir(parents=True)
    documents = tokens // shards // sentence // document
    counts = (documents, documents * document, documents * document * sentence)
    facts = [ShardFacts(f"train-{i:05d}", "train", 0, *counts, {"word_starts": "starts"}) for i in range(shards)]
    files = {}
    for shard in facts:
        name = f"{shard.name}.shard"
        sections = layout(shard, VOCAB_SIZE)
        with open(path / name, "wb") as file:
            for section, step in (("sentence_offsets", sentence), ("document_offsets", document)):
                start, count, dtype = sections[section]
                file.seek(start)
                for first in range(0, count, BLOCK):
                    (np.arange(first, min(first + BLOCK, count)) * step).astype(dtype).tofile(file)
            file.truncate(sections["ids"][0])
        files[name] = FileFacts((path / name).stat().st_size, "")
    manifest = Manifest(vocab_size=VOCAB_SIZE, tokenizer="", shards=tuple(facts), files=files, made={})
    (path / "manifest.json").write_text(manifest.to_json())


def in_fresh_process(measurement: Any, *arguments: Any) -> dict[str, float]:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measurement, *arguments).result()


def index(store: str, length: int) -> dict[str, float]:
    split = Store.open(store).split("train")
    before = start_counting()
    start = time.perf_counter()
    pipeline.row_facts(split, use("full_sentences"), length)
    return {"seconds": time.perf_counter() - start, "imported": before, "above": peak() - before}


def feed(store: str, length: int, batch_size: int, batches: int, way: str) -> dict[str, float]:
    if way == "tf.data":
        import tensorflow as tf

        tf.data.Dataset.range(1)  # what TensorFlow holds whatever it reads
    else:
        pipeline._through_tf_data_soon = pipeline._through_threads
    before = start_counting()
    start = time.perf_counter()
    split = Store.open(store).split("train")
    examples = pipeline.PackedText([split], use("full_sentences"), length, Specials(0, 2, 3))
    reading = pipeline.batches(examples, batch_size, 0)
    next(reading)
    first = time.perf_counter() - start
    for _ in itertools.islice(reading, batches):
        pass
    figures = {"seconds": time.perf_counter() - start, "imported": before, "above": peak() - before}
    return figures | {"first_batch_seconds": first}


def start_counting() -> int:
    """Bytes held now; from here on the highest counts."""
    Path(f"/proc/{os.getpid()}/clear_refs").write_text("5")
    return held("VmRSS")


def peak() -> int:
    return held("VmHWM")


def held(what: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


if __name__ == "__main__":
    cli.run(main, define)

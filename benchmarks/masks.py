"""What does it cost to draw masks of units, beside those of tokens?

    python -m data_pipeline.similar_words --store=runs/demo/store --output=runs/similar.npz
    python benchmarks/masks.py --store=runs/demo/store --similar=runs/similar.npz --json=masks.json

Names are drawn too where the store was prepared with data.annotations=(use("capitals"),).
Milliseconds to read a batch with the annotations that a masking needs, on one thread, and to corrupt it: the least of
many, since other work on the machine only adds to them.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax

from bert_jax.config import Model
from bert_jax.objectives import mlm
from bert_jax.training.setup import vocabulary_of
from configuration import cli
from configuration.variants import Variant, use
from data_pipeline.batches import pipeline
from data_pipeline.store import Store

FLAGS = flags.FLAGS
MACBERT = use("ngrams", shares=(40, 30, 20, 10))


def define() -> None:
    flags.DEFINE_string("store", None, "Folder of a prepared store.", required=True)
    flags.DEFINE_string("similar", "", "Table of similar words of that store; without one they are left out.")
    flags.DEFINE_list("lengths", ["128", "512"], "Tokens in a row.")
    flags.DEFINE_integer("rows", 64, "Rows in a batch.")
    flags.DEFINE_integer("times", 40, "Batches of each case.")


def cases(store: Store) -> dict[str, dict[str, Variant]]:
    """Options of the objective by name."""
    found: dict[str, dict[str, Variant]] = {
        "tokens": {},
        "whole words": {"masking": use("whole_words")},
        "n-grams": {"masking": use("ngrams")},
        "spans, replaced by the span": {"masking": use("spans"), "replacement": use("per_unit")},
    }
    if "capitals" in store.annotations:
        found["names"] = {"masking": use("units", annotation="capitals")}
    if FLAGS.similar:
        found["n-grams, similar words"] = {"masking": MACBERT, "replacement": use("similar", file=FLAGS.similar)}
    return found


def benchmark() -> dict[str, Any]:
    """The command."""
    store, results = Store.open(FLAGS.store), {}
    for length in map(int, FLAGS.lengths):
        for name, options in cases(store).items():
            figures = measure(store, length, options)
            results[f"{name}, {length}"] = figures
            print(f"{length:4} {name:28}" + "".join(f"  {key} {value:6.2f} ms" for key, value in figures.items()))
    return results


def measure(store: Store, length: int, options: dict[str, Variant]) -> dict[str, float]:
    """Milliseconds of reading and of corrupting a batch."""
    objective = mlm.build(Model(vocab_size=store.vocab_size), vocabulary_of(store), **options)
    examples = pipeline.PackedText(
        [store.split("train")],
        use("full_sentences"),
        length,
        pipeline.specials_of(store.tokenizer),
        annotations=objective.needs,
    )
    corrupt, batch = jax.jit(objective.corrupt), examples.batch(0, FLAGS.rows)
    jax.block_until_ready(corrupt(batch, jax.random.key(0)))
    return {
        "read": least(lambda i: examples.batch(i * FLAGS.rows, FLAGS.rows)),
        "corrupt": least(lambda i: jax.block_until_ready(corrupt(batch, jax.random.key(i)))),
    }


def least(work: Callable[[int], Any]) -> float:
    """Milliseconds of the quickest of many calls."""
    times = []
    for i in range(FLAGS.times):
        began = time.perf_counter()
        work(i)
        times.append(1e3 * (time.perf_counter() - began))
    return min(times)


if __name__ == "__main__":
    cli.run(benchmark, define)

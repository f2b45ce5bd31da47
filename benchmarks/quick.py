"""Has anything slowed down? Ratios of this machine's own times against those that are expected, in under three minutes.

    make bench-quick
    python benchmarks/quick.py --update        # writes what was measured as expected, when a change is meant

Times differ from machine to machine, ratios hardly: our step by a matrix product, by PyTorch's step, with relative
positions by without, in rows of 512 by rows of 128, ELECTRA's by that of masked language modelling; reading a batch by
the step; compiling 24 layers by compiling 2; cleaning and tokenizing a text by hashing it. benchmarks/expected.json
holds each with the factor by which it may grow. Exits with 1 if one has grown more, and says which.
"""

import collections
import functools
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, startup, training
from configuration import cli
from configuration.variants import ConfigError

FLAGS = flags.FLAGS
EXPECTED = Path(__file__).with_name("expected.json")
WORK = training.Work(2, 256, 8, 128, vocab_size=8000)
LONG = training.Work(2, 256, 2, 512, vocab_size=8000)
SLACK = 1.3  # by which a ratio may grow, where expected.json says nothing else
MEANS = {
    "step / product": "our step (2×256, 8×128), in matrix products of 1536",
    "step / PyTorch's": "our step by Hugging Face's in eager PyTorch, float32",
    "relative / absolute": "functional-relative positions by absolute ones",
    "rows of 512 / of 128": "as many tokens in rows of 512 by those in rows of 128",
    "ELECTRA / masked": "ELECTRA by masked language modelling",
    "reading / step": "reading a batch by the step that uses it",
    "compiling 24 / 2": "compiling 24 layers by compiling 2",
    "cleaning / hashing": "cleaning a text by all rules, by hashing it (BLAKE2b)",
    "tokenizing / hashing": "a text to sentences and tokens, by hashing it",
}
RULES = ("unicode", "length", "characters", "repetition", "exact_duplicates", "near_duplicates")


def define() -> None:
    charts.define()
    flags.DEFINE_bool("update", False, "Write the measured ratios to benchmarks/expected.json.")
    flags.DEFINE_integer("rounds", 7, "How often each step takes its turn.", lower_bound=1)


def main() -> dict[str, Any]:
    began = time.monotonic()
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    if not expected and not FLAGS.update:
        raise ConfigError(f"{EXPECTED} is missing; python benchmarks/quick.py --update writes what is measured")
    measured = measure()
    slower = []
    print(f"{'':<58}{'measured':>10}{'expected':>10}{'at most':>10}")
    for name, ratio in measured.items():
        wanted = expected.get(name, {"ratio": ratio})
        most = wanted["ratio"] * wanted.get("may_grow_by", SLACK)
        print(
            f"{MEANS[name]:<58}{ratio:>10.3g}{wanted['ratio']:>10.3g}{most:>10.3g}{'  SLOWER' if ratio > most else ''}"
        )
        if ratio > most:
            slower.append(f"{MEANS[name]} is {ratio / wanted['ratio']:.2f}× what is expected")
    print(f"{time.monotonic() - began:.0f} s")
    shares = {name: {"measured": r / expected.get(name, {"ratio": r})["ratio"]} for name, r in measured.items()}
    charts.bars(shares, "ratio, by what is expected")
    if FLAGS.update:
        cli.write_json(
            EXPECTED, {name: expected.get(name, {}) | {"ratio": round(r, 4)} for name, r in measured.items()}
        )
    elif slower:
        raise SystemExit("slowed down: " + "; ".join(slower))
    return {"ratios": measured, "seconds": time.monotonic() - began}


def measure() -> dict[str, float]:
    """The ratios, by name."""
    makers = {
        "ours": functools.partial(training.ours, WORK),
        "relative": functools.partial(training.ours, WORK, {"model.positions": "functional_relative"}),
        "long": functools.partial(training.ours, LONG),
        "ELECTRA": functools.partial(training.ours, WORK, {"objective": "electra"}),
        "PyTorch's": functools.partial(training.torch_bert, WORK),
        "product": training.matmul_jax,
    }
    turns, failed = training.take_turns(makers, FLAGS.rounds, 0.5)
    if failed:
        raise SystemExit(f"did not run: {failed}")
    deep, shallow = (startup.in_fresh_process(depth, width=128)["compile"] for depth in (24, 2))
    return {
        "step / product": training.ratios(turns, "ours", "product"),
        "step / PyTorch's": training.ratios(turns, "ours", "PyTorch's"),
        "relative / absolute": training.ratios(turns, "relative", "ours"),
        "rows of 512 / of 128": training.ratios(turns, "long", "ours"),
        "ELECTRA / masked": training.ratios(turns, "ELECTRA", "ours"),
        "reading / step": reading_seconds() / statistics.median(turns["ours"]),
        "compiling 24 / 2": deep / shallow,
        **text_ratios(),
    }


def text_ratios() -> dict[str, float]:
    """What cleaning and tokenizing cost beside hashing, on one core: the best of several times each."""
    from data_pipeline.sources import Document

    texts = random_texts()
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    encode, examine = encoder_of(texts), examiner()
    hashing = best(lambda: [hashlib.blake2b(text.encode()).digest() for text in texts])
    return {
        "cleaning / hashing": best(lambda: examine(documents)) / hashing,
        "tokenizing / hashing": best(lambda: encode(documents)) / hashing,
    }


def best(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest of several times."""

    def seconds() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(seconds() for _ in range(times))


def random_texts(documents: int = 1000, words: int = 400, vocabulary: int = 20_000) -> list[str]:
    """Documents of words that occur as often as those of a language (Zipf)."""
    rng = np.random.default_rng(0)
    letters = rng.choice(list("etaoinshrdlucmfwyp"), (vocabulary, 10))
    known = np.array(["".join(row[:size]) for row, size in zip(letters, rng.integers(1, 11, vocabulary), strict=True)])
    drawn = known[np.minimum(rng.zipf(1.3, (documents, words)) - 1, vocabulary - 1)]
    sentences = lambda row: (" ".join(row[i : i + 16]).capitalize() + "." for i in range(0, words, 16))
    return [" ".join(sentences(row)) for row in drawn]


def examiner() -> Callable[[Sequence[Any]], dict[str, Any]]:
    """What a worker does with documents that all rules clean."""
    from configuration.variants import use
    from data_pipeline import clean

    return clean._Examine(tuple(map(use, RULES)))._examine


def encoder_of(texts: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
    """Documents to the tokens of a vocabulary of their own words."""
    from data_pipeline.config import Data
    from data_pipeline.preparing.encoding import EncodePart
    from data_pipeline.tokenizers import sentencepiece

    data, counts = Data(), collections.Counter(word for text in texts for word in text.split())
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.build(lambda: counts, vocab_size=4000).save(Path(folder) / "tokenizer")
        part = EncodePart(Path(folder) / "tokenizer", data.sentences, data.words, data.annotations, data.held_out)
        part.encode([])  # opens the tokenizer
    return part.encode


def reading_seconds() -> float:
    """Seconds that one thread takes to read a batch: the best of several times many."""
    from configuration.variants import use
    from data_pipeline.batches import pipeline
    from data_pipeline.batches.assembly import Specials
    from data_pipeline.store import Store

    with tempfile.TemporaryDirectory() as folder:
        startup.make_store("demo", Path(folder) / "store")
        split = Store.open(Path(folder) / "store").split("train")
        specials = Specials(training.PAD, training.CLS, training.SEP)
        examples = pipeline.PackedText([split], use("full_sentences"), WORK.length, specials)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            for step in range(100):
                examples.batch(step * WORK.rows, WORK.rows)
            times.append((time.perf_counter() - began) / 100)
        return min(times)


if __name__ == "__main__":
    cli.run(main, define)

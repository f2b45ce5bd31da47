"""How many near-duplicates does cleaning find, and does it take different texts for one?

    python benchmarks/near_duplicates.py --text=english.txt --documents=20000 --copies=3000

Some of the documents are copied with edits spread over them: words replaced, a tenth cut off, a notice put in front.
Recall is counted by the true Jaccard coefficient of copy and original, computed from their sets of runs of words;
precision over all that is removed. The peer is datasketch's own index, MinHashLSH, with the same signatures and
bands, its candidates verified by the same estimate.
"""

import functools
import json
import random
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags

from data_pipeline.cleaning import near_duplicates
from data_pipeline.cleaning._words import runs_in, words_of

FLAGS = flags.FLAGS
LEVELS = ((0.95, 1.01), (0.9, 0.95), (0.85, 0.9), (0.8, 0.85), (0.75, 0.8), (0.7, 0.75), (0.5, 0.7))
WORDS = 5
_MEMORY = 10_000  # documents over which memory is counted


def edited(text: str, vocabulary: list[str], rng: random.Random) -> str:
    """A copy with one kind of edit."""
    words = text.split(" ")
    kind = rng.random()
    if kind < 0.1:
        return f"Copyright notice: this page is offered without any warranty, see the licence of {rng.random()}. {text}"
    if kind < 0.2:
        return " ".join(words[: -max(1, len(words) // 10)])
    share = rng.choice([0.002, 0.005, 0.01, 0.02, 0.03, 0.05])
    for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = rng.choice(vocabulary)
    return " ".join(words)


def runs(text: str) -> set[int]:
    """The set of runs of words, hashed to 64 bits."""
    return set(runs_in(text, WORDS).tolist())


def likeness(a: str, b: str) -> float:
    """The true Jaccard coefficient."""
    first, second = runs(a), runs(b)
    return len(first & second) / max(1, len(first | second))


def by_datasketch(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """The originals that the library's own index gives."""
    import datasketch

    index = datasketch.MinHashLSH(num_perm=signatures.shape[1], params=near_duplicates._bands(threshold, 128))
    originals = np.arange(len(signatures))
    for i, signature in enumerate(signatures):
        minhash = datasketch.MinHash(hashvalues=signature, scheme="affine32")
        alike = {j: (signatures[j] == signature).mean() for j in index.query(minhash)}
        best = max(alike, key=alike.__getitem__, default=i)
        if best != i and alike[best] >= threshold:
            originals[i] = best
        else:
            index.insert(i, minhash)
    return originals


def bytes_each(function: Callable[[], np.ndarray], documents: int) -> float:
    """The most memory that it holds at a time, for each document."""
    function()  # imports what it needs
    tracemalloc.start()
    function()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / documents


def main(argv: list[str]) -> None:
    del argv
    rng = random.Random(0)
    texts = [t for t in Path(FLAGS.text).read_text(encoding="utf-8").split("\n\n") if len(words_of(t).hashes) >= 50]
    texts = rng.sample(texts, min(FLAGS.documents, len(texts)))
    vocabulary = [word for text in texts[:500] for word in text.split()]
    copied = rng.sample(range(len(texts)), FLAGS.copies)
    documents = texts + [edited(texts[i], vocabulary, rng) for i in copied]
    true = np.array([likeness(documents[len(texts) + k], texts[i]) for k, i in enumerate(copied)])

    rule = near_duplicates.build(threshold=FLAGS.threshold)
    start = time.perf_counter()
    signatures = np.stack([rule.signature(text) for text in documents])
    speed = sum(len(text.encode()) for text in documents) / 1e6 / (time.perf_counter() - start)
    print(f"{len(texts):,} documents and {len(copied):,} edited copies; signatures {speed:.1f} MB/s on one core")

    figures: dict = {"documents": len(texts), "copies": len(copied), "signatures_mb_per_second": speed}
    rows = np.arange(len(documents))
    ways = {
        "bert_jax": lambda signatures: rule.originals(signatures, np.arange(len(signatures))),
        "datasketch": lambda signatures: by_datasketch(signatures, FLAGS.threshold),
    }
    for name, way in ways.items():
        start = time.perf_counter()
        originals = way(signatures)
        seconds = time.perf_counter() - start
        memory = bytes_each(functools.partial(way, signatures[:_MEMORY]), _MEMORY)
        gone = np.flatnonzero(originals != rows)
        pairs = np.array([likeness(documents[i], documents[originals[i]]) for i in gone])
        found = originals[len(texts) :] != rows[len(texts) :]
        recall = {f"{low:.2f}": float(found[(true >= low) & (true < high)].mean()) for low, high in LEVELS}
        counts = {f"{low:.2f}": int(((true >= low) & (true < high)).sum()) for low, high in LEVELS}
        figures[name] = {
            "recall_above_threshold": float(found[true >= FLAGS.threshold].mean()),
            "recall": recall,
            "counts": counts,
            "precision": float((pairs >= FLAGS.threshold).mean()),
            "precision_near": float((pairs >= FLAGS.threshold - 0.1).mean()),
            "lowest_removed": float(pairs.min()),
            "removed": len(gone),
            "removed_without_a_copy": int((gone < len(texts)).sum()),
            "seconds": seconds,
            "bytes_a_document": memory,
        }
        f = figures[name]
        print(f"\n{name}: {len(gone):,} removed, {f['removed_without_a_copy']:,} of them from the text as it was")
        print(f"  recall of likeness {FLAGS.threshold:g} and above   {f['recall_above_threshold']:.1%}")
        for low, share in recall.items():
            print(f"    from {low}: {share:7.1%} of {counts[low]:,}")
        print(
            f"  precision {f['precision']:.1%} at {FLAGS.threshold:g}, {f['precision_near']:.1%} at 0.1 below", end=""
        )
        print(
            f"; lowest {f['lowest_removed']:.2f}; {seconds:.1f} s, {memory:,.0f} bytes a document beside the signatures"
        )
    if FLAGS.json:
        Path(FLAGS.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    flags.DEFINE_string("text", None, "A text file, a blank line between documents.", required=True)
    flags.DEFINE_integer("documents", 20_000, "Documents that are drawn from it.")
    flags.DEFINE_integer("copies", 3_000, "Of them copied with edits.")
    flags.DEFINE_float("threshold", 0.8, "As in the rule.")
    flags.DEFINE_string("json", "", "Also write the figures to this file, as JSON.")
    app.run(main)

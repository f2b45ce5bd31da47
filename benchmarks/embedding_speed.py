"""Sentences a second, text to vector, beside sentence-transformers on the same encoder.

    python benchmarks/embedding_speed.py --sizes=mini --json=embedding_speed.json
    python benchmarks/embedding_speed.py --sizes=base --texts=short

Random weights, mean pooling, length 1, words of one piece each; short texts have 5 to 40 tokens or so, long ones 256.
sentence-transformers sorts texts by length and pads each batch to its longest; it is timed eager and compiled
(`torch.compile(dynamic=True)`), in float32 and bf16. Tokenization counts, and so does the way back to NumPy. Ours and
the peers take turns, each in a process of its own; a ratio is the median over the rounds of two neighbouring turns.
Before anything is timed, the vectors of all in float32 are compared.
"""

import functools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import training
from configuration import cli

FLAGS = flags.FLAGS
SIZES = {  # layers, width
    "mini": (4, 256),
    "small": (6, 384),  # MiniLM's
    "base": (12, 768),
}
WORDS = 8000
OURS = {"ours, float32": "float32", "ours, bf16": "bfloat16"}
PEERS = {
    "eager float32": {},
    "compiled float32": {"compiled": True},
    "eager bf16": {"dtype": "bfloat16"},
    "compiled bf16": {"dtype": "bfloat16", "compiled": True},
}
LENGTHS = ("short", "long")


def define() -> None:
    flags.DEFINE_list("sizes", list(SIZES), "Which sizes of encoder.")
    flags.DEFINE_list("texts", list(LENGTHS), "Which lengths of text.")
    flags.DEFINE_list("peers", list(PEERS), "Which peers.")
    for name, known in (("sizes", SIZES), ("texts", LENGTHS), ("peers", PEERS)):
        said = f"each must be one of {', '.join(known)}"
        flags.register_validator(name, lambda values, known=known: set(values) <= set(known), said)
    flags.DEFINE_integer("number", 512, "Short texts; of long ones a sixteenth.", lower_bound=16)
    flags.DEFINE_integer("batch_size", 32, "Texts of a peer's batch, and long rows of ours.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")
    flags.DEFINE_float("patience", 600, "Seconds in which a peer must have compiled and encoded twice.")


def make_texts(kind: str, number: int) -> list[str]:
    """Texts of words w0, w1, …"""
    rng = np.random.default_rng(0)
    if kind == "long":
        lengths = np.full(number // 16, 254)
    else:
        lengths = np.clip(np.exp(rng.normal(2.6, 0.5, number)), 3, 60).astype(int)
    return [" ".join(f"w{i}" for i in rng.integers(0, WORDS, n)) for n in lengths]


def make_folder(size: str, folder: Path) -> Path:
    """A folder of sentence-transformers with random weights."""
    import jax

    from bert_jax import convert
    from bert_jax.config import Model
    from bert_jax.embedding.readout import Readout
    from bert_jax.formats import native
    from bert_jax.modeling import bert
    from data_pipeline.tokenizers import wordpiece

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*specials, *(f"w{i}" for i in range(WORDS))]) + "\n")
    tokenizer = wordpiece.build(dict, vocab=str(folder / "vocab.txt"), lowercase=True)
    layers, width = SIZES[size]
    model = Model(
        vocab_size=tokenizer.vocab_size, layers=layers, width=width, heads=width // 64 or 1, mlp_width=4 * width
    )
    (folder / "ours").mkdir()
    native.write(model, bert.init(model, jax.random.key(0)), folder / "ours")
    tokenizer.save(folder / "ours" / "tokenizer")
    convert.export(folder / "ours", folder / "model", vectors=lambda opened: Readout())
    return folder / "model"


def ours(folder: Path, texts: list[str], batch_size: int, dtype: str, compare: str = "") -> training.Step:
    """Encodes all texts with `encoder.embed`."""
    import bert_jax

    encoder = bert_jax.load(folder)
    embed = functools.partial(encoder.embed, texts, batch_size=batch_size, dtype=dtype)
    _keep_or_compare(embed(), compare)

    def step() -> float:
        return float(embed()[0, 0])

    return step


def theirs(
    folder: Path, texts: list[str], batch_size: int, compare: str = "", dtype: str = "float32", compiled: bool = False
) -> training.Step:
    """Encodes all texts with sentence-transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import sentence_transformers
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = sentence_transformers.SentenceTransformer(str(folder), device=device, local_files_only=True)
    model = model.to(getattr(torch, dtype))
    if compiled:
        model[0].compile(dynamic=True)
    encode = functools.partial(model.encode, texts, batch_size=batch_size, convert_to_tensor=True)
    if dtype == "float32":
        _keep_or_compare(encode().cpu().numpy(), compare)

    def step() -> float:
        return float(encode().float().cpu().numpy()[0, 0])

    return step


def _keep_or_compare(vectors: np.ndarray, file: str) -> None:
    """The first one keeps its vectors; the others must have the same.

    Raises:
      AssertionError: they have not.
    """
    if file and not os.path.exists(file):
        np.save(file, vectors)
    elif file:
        np.testing.assert_allclose(vectors, np.load(file), atol=1e-5)


def main() -> dict[str, Any]:
    return {size: {kind: measure(size, kind) for kind in FLAGS.texts} for size in FLAGS.sizes}


def measure(size: str, kind: str) -> dict[str, Any]:
    """Sentences a second of all, and how many times as fast ours are."""
    texts = make_texts(kind, FLAGS.number)
    with tempfile.TemporaryDirectory() as name:
        folder, vectors = make_folder(size, Path(name)), str(Path(name) / "vectors.npy")
        make = {
            ours_: functools.partial(ours, folder, texts, FLAGS.batch_size, dtype, vectors * (dtype == "float32"))
            for ours_, dtype in OURS.items()
        }
        make |= {
            peer: functools.partial(theirs, folder, texts, FLAGS.batch_size, vectors, **PEERS[peer])
            for peer in FLAGS.peers
        }
        turns, failed = training.take_turns(make, FLAGS.rounds, FLAGS.seconds, FLAGS.patience)
    print(f"{size}, {len(texts)} {kind} texts")
    print(f"  {'':<20}{'texts/s':>10}" + "".join(f"{name:>16}" for name in OURS))
    figures: dict[str, Any] = {"seconds": turns, "failed": failed, "texts": len(texts), "times_faster_than": {}}
    for name, seconds in turns.items():
        ratios = {each: training.ratios(turns, name, each) for each in OURS if each in turns}
        figures["times_faster_than"][name] = ratios
        rate = len(texts) / statistics.median(seconds)
        print(f"  {name:<20}{rate:>10,.0f}" + "".join(f"{ratio:>15.2f}×" for ratio in ratios.values()), flush=True)
    for name, reason in failed.items():
        print(f"  {name:<20}{reason}")
    return figures


if __name__ == "__main__":
    cli.run(main, define)

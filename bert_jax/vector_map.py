"""A map of vectors in the page of a folder: t-SNE (van der Maaten and Hinton 2008) by scikit-learn.

    python -m bert_jax.embed --model=runs/demo --input=texts.txt --output=vectors.npy
    python -m bert_jax.vector_map --vectors=vectors.npy --texts=texts.txt --workdir=runs/demo

Writes WORKDIR/vector_map.json and, with the map in it, WORKDIR/report.html: of a run, or of a folder of its own. The
texts are in the page. Needs the extra `finetune`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax.embedding import unit, vector_file
from bert_jax.metrics import need
from bert_jax.report import write_report
from bert_jax.reporting.vector_map import FILE
from configuration import cli
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.texts import open_texts

FEWEST = 5  # vectors of a map
PERPLEXITY = 30.0  # neighbours of a vector that t-SNE keeps near


def define_flags() -> None:
    """--vectors, --texts, --column, --most, --seed"""
    flags.DEFINE_string("vectors", None, "File that bert_jax.embed wrote, .npy or .parquet.", required=True)
    flags.DEFINE_string("texts", None, "Its input.", required=True)
    flags.DEFINE_string("column", "text", "Field of JSON-lines, or column of Parquet, that holds the text.")
    flags.DEFINE_integer("most", 2000, "Vectors to show, evenly spread over the file.", lower_bound=FEWEST)
    flags.DEFINE_integer("seed", 0, "Of the map.")


def main() -> dict[str, Any]:
    """The command."""
    f = cli.FLAGS
    need("sklearn")
    vectors, texts = vector_file.read(Path(f.vectors)), open_texts(Path(f.texts), f.column)
    if texts.number != len(vectors):
        raise DataError(
            f"{f.texts} has {texts.number:,} texts and {f.vectors} {len(vectors):,} vectors; give its input"
        )
    if len(vectors) < FEWEST:
        raise FormatError(f"{f.vectors} has {len(vectors)} vectors; a map needs {FEWEST} at least")
    chosen = np.unique(np.linspace(0, len(vectors) - 1, f.most).astype(int))
    wanted = set(chosen.tolist())
    shown = [text for number, text in enumerate(texts.read()) if number in wanted]
    points = layout(np.asarray(vectors[chosen], np.float32), f.seed)
    workdir = Path(f.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    facts = {"points": points.round(4).tolist(), "texts": shown, "vectors": len(vectors)}
    cli.write_json(workdir / FILE, facts)
    report = write_report(workdir)
    print(f"{report}: a map of {len(points):,} vectors")
    return {"report": str(report), "vectors": len(points)}


def layout(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """vectors [n, D] → points [n, 2] between 0 and 1; vectors of high cosine are near each other."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit(vectors))
    low, high = found.min(0), found.max(0)
    return (found - low) / np.maximum(high - low, 1e-12)


if __name__ == "__main__":
    cli.run(main, define_flags, cli.workdir_flag)

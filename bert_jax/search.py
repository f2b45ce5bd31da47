"""The texts nearest to a query, by their vectors.

    python -m bert_jax.embed --model=DIR --input=sentences.txt --output=vectors.npy
    python -m bert_jax.search --model=DIR --vectors=vectors.npy --texts=sentences.txt --query="a mill by the river"

With --index=vectors.faiss the search is approximate and fast, by an index that the first such command builds and later
ones open; `pip install 'bert_jax[search]'` for it. Open no untrusted index: FAISS does not check what it reads.

The flags that say how vectors are read (--pooling, --dimensions, …) must be those that the vectors were made with.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax import embed
from bert_jax.embedding import index, vector_file
from bert_jax.embedding.search import search
from bert_jax.runtime import command
from configuration import cli
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.texts import Texts, open_texts


def define_flags() -> None:
    """--model, --vectors, --texts, --column, --query, --queries, --top, --index, --score"""
    flags.DEFINE_string("model", None, "Folder of the encoder that made the vectors.", required=True)
    flags.DEFINE_string("vectors", None, "File that bert_jax.embed wrote, .npy or .parquet.", required=True)
    flags.DEFINE_string("texts", "", "Its input, whose texts are shown; if not given, their numbers are.")
    flags.DEFINE_string("column", "text", "Field of JSON-lines, or column of Parquet, that holds the text.")
    flags.DEFINE_multi_string("query", [], "Text to look for; may be given several times.")
    flags.DEFINE_string("queries", "", "File of such texts: .txt, .jsonl or .parquet.")
    flags.DEFINE_integer("top", 5, "Texts to show for each query.", lower_bound=1)
    flags.DEFINE_string("index", "", "File of an index for fast approximate search, written where there is none.")
    flags.DEFINE_enum("score", "cosine", ["cosine", "dot"], "Similarity of two texts.")


def main() -> dict[str, Any]:
    """The command."""
    f = cli.FLAGS
    queries = [*f.query, *(open_texts(Path(f.queries), f.column).read() if f.queries else ())]
    if not queries:
        raise FormatError("give --query=TEXT, or --queries=FILE")
    vectors = vector_file.read(Path(f.vectors))
    texts = open_texts(Path(f.texts), f.column) if f.texts else None
    if texts and texts.number != len(vectors):
        raise DataError(
            f"{f.texts} has {texts.number:,} texts and {f.vectors} {len(vectors):,} vectors; give its input"
        )
    if f.index:
        index.check()
    asked = embed.open_embedder()(queries)
    if f.index:
        scores, numbers = index.search(index.opened(Path(f.index), vectors, f.score), asked, f.top, f.score)
    else:
        scores, numbers = search(asked, vectors, f.top, f.score)
    shown = chosen(texts, np.unique(numbers)) if texts else {}
    found = [
        {"query": query, "found": [hit(float(s), int(n), shown) for s, n in zip(*both, strict=True) if n >= 0]}
        for query, *both in zip(queries, scores, numbers, strict=True)
    ]
    print("\n\n".join(readable(one) for one in found))
    return {"queries": found}


def chosen(texts: Texts, numbers: Iterable[int]) -> dict[int, str]:
    """Some of the texts by their numbers; one pass over the file."""
    wanted = set(map(int, numbers))
    return {number: text for number, text in enumerate(texts.read()) if number in wanted}


def hit(score: float, number: int, shown: dict[int, str]) -> dict[str, Any]:
    """One text that was found."""
    return {"score": score, "number": number, **({"text": shown[number]} if shown else {})}


def readable(one: dict[str, Any]) -> str:
    """A query and what was found as lines."""
    lines = [f"  {h['score']:6.3f}  {h['number']:>9,}  {h.get('text', '')[:100]}".rstrip() for h in one["found"]]
    return "\n".join([one["query"], *lines])


if __name__ == "__main__":
    cli.run(command.computing(main), define_flags, embed.readout_flags, cli.outside_flags)

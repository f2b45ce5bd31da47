"""Small stores of numbered tokens for the tests of rows and batches."""

import itertools
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

import hypothesis
import numpy as np

from data_pipeline.batches.assembly import Specials
from data_pipeline.store import Store
from data_pipeline.store.writer import write_store

# How long an example takes says little on a machine that does other things too.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

SPECIALS = Specials(pad=0, cls=2, sep=3)
FIRST = 5  # the first token of a text; each further one is one higher, so that every token is told apart

Documents = Sequence[Sequence[int]]  # sentences of each document, in tokens


def numbered(documents: Documents, token: Iterator[int]) -> list[list[list[int]]]:
    """Token ids that count up through the documents."""
    return [[list(itertools.islice(token, n)) for n in document] for document in documents]


def offsets(documents: Documents) -> types.SimpleNamespace:
    """What a row format sees of a shard."""
    sentences = [n for document in documents for n in document]
    return types.SimpleNamespace(
        sentence_offsets=np.cumsum([0, *sentences]).astype(np.uint32),
        document_offsets=np.cumsum([0, *(len(d) for d in documents)]).astype(np.uint32),
    )


def store(folder: Path, documents: Documents, *, documents_per_shard: int = 1 << 30, held_out: Documents = ()) -> Store:
    """A store of numbered tokens; every third token does not start a word."""
    vocab_size = FIRST + sum(map(sum, documents)) + sum(map(sum, held_out))
    token = itertools.count(FIRST)
    return write_store(
        folder / "store",
        {"train": numbered(documents, token), "held_out": numbered(held_out, token)},
        vocab_size=vocab_size,
        word_starts=np.arange(vocab_size) % 3 > 0,
        documents_per_shard=documents_per_shard,
    )

"""Row formats: how the sentences of a store fill rows of a fixed length. One file per format.

A format sees only the offsets of sentences and documents, never the tokens, and cuts a shard into
*pieces*: runs of tokens of one document that lie next to each other in the shard. One or more
pieces make a row:

    opening "row"      [CLS] piece [SEP] piece [SEP] … [PAD]…     (RoBERTa: one separator between documents)
    opening "piece"    [CLS] piece [SEP] [CLS] piece [SEP] … [PAD]…

The second is for isolated documents: every piece looks the way a text looks at fine-tuning, and its
[CLS] is its own.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np


class Offsets(Protocol):
    """What a format may know of a shard of n tokens, s sentences and d documents."""

    @property
    def sentence_offsets(self) -> np.ndarray: ...  # [s+1], into tokens
    @property
    def document_offsets(self) -> np.ndarray: ...  # [d+1], into sentences


class Spans(NamedTuple):
    """R consecutive rows of a shard, at least one, made of P pieces."""

    counts: np.ndarray  # int64 [R], pieces in each row, at least 1
    starts: np.ndarray  # int64 [P], the first token of each piece, counted within the shard
    lengths: np.ndarray  # int64 [P], tokens of each piece, specials not counted
    documents: np.ndarray  # int64 [P], the document of each piece, counted within the shard


@dataclasses.dataclass(frozen=True)
class RowFormat:
    """What a file of this folder builds: `build(length, isolate, *, options) -> RowFormat`."""

    spans: Callable[[Any], Iterator[Spans]]  # the rows of a shard (an `Offsets`), some at a time, in order
    opening: Literal["row", "piece"]  # what begins with [CLS]
    pair: Literal["", "nsp", "sop"] = ""  # rows are pairs of two pieces, labelled so


def specials(counts: np.ndarray, opening: str) -> np.ndarray:
    """How many [CLS] and [SEP] rows of so many pieces hold."""
    return counts * 2 if opening == "piece" else counts + 1

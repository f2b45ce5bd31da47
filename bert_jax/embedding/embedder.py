"""Texts to vectors on the device, packed."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from bert_jax.config import Model
from bert_jax.embedding import pack, readout
from bert_jax.embedding.pooling import vectors
from bert_jax.embedding.readout import Readout
from data_pipeline.tokenizers import Tokenizer

USUAL_LENGTH = 512  # tokens of the rows that a batch size counts, where the encoder takes longer ones
_AHEAD = 2  # batches on the device while the host makes the next

Done = Callable[[int], Any]  # told how many more texts are done


class Embedder:
    """An encoder with a way to read vectors from it; compiled once for each shape of its packed rows.

    Args:
      model: with the dtype of the matrix products.
      batch_size: rows of the longest kind that are encoded at once; of shorter ones as many as have the same tokens.
      row_lengths: of packed rows; None for `pack.row_lengths`.
    """

    def __init__(
        self,
        model: Model,
        params: dict[str, Any],
        tokenizer: Tokenizer,
        readout: Readout,
        *,
        batch_size: int = 32,
        row_lengths: Sequence[int] | None = None,
    ):
        # A text alone in its row sees the same with and without isolation; with it, it may share the row.
        self.model = dataclasses.replace(model, isolate_documents=True)
        self.params, self.tokenizer, self.readout = params, tokenizer, readout
        self.longest = min(model.max_length, readout.max_length or model.max_length)
        self.row_lengths = row_lengths or pack.row_lengths(self.longest)
        self.batch_tokens = batch_size * min(self.longest, USUAL_LENGTH)
        self._run = jax.jit(functools.partial(run, self.model, self.readout), static_argnames="documents")

    def __call__(self, texts: Sequence[str], done: Done | None = None) -> np.ndarray:
        """float32 [len(texts), width]: the texts' vectors, in their order."""
        return self.of_ids(self.ids(texts), done)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """[CLS] text [SEP] of each, cut to the longest row."""
        t, prompt = self.tokenizer, self.readout.prompt
        if prompt or self.readout.lowercase:
            texts = [(prompt + text).lower() if self.readout.lowercase else prompt + text for text in texts]
        return [[t.cls_id, *ids[: self.longest - 2], t.sep_id] for ids in t.encode_batch(texts)]

    def of_ids(self, texts: Sequence[Sequence[int]], done: Done | None = None) -> np.ndarray:
        """The vectors of tokenized texts."""
        out = np.empty((len(texts), self.readout.width(self.model)), np.float32)
        running: collections.deque[tuple[np.ndarray, jax.Array]] = collections.deque()

        def fetch() -> None:
            numbers, found = running.popleft()
            there = numbers != pack.EMPTY
            out[numbers[there]] = np.asarray(found)[there]
            if done is not None:
                done(int(there.sum()))

        for packed in pack.batches(texts, self.row_lengths, self.batch_tokens, self.model.width):
            batch = {"tokens": packed.tokens, "segments": packed.segments, "positions": packed.positions}
            running.append((packed.texts, self._run(self.params, batch, documents=packed.texts.shape[1])))
            if len(running) > _AHEAD:
                fetch()
        while running:
            fetch()
        return out


def run(
    model: Model, readout_: Readout, params: dict[str, Any], batch: dict[str, jax.Array], *, documents: int
) -> jax.Array:
    """Packed rows [B, L] → float32 [B, K, width]."""
    batch = batch | {"token_types": jax.numpy.zeros_like(batch["tokens"])}
    return readout.apply(readout_.steps, vectors(model, readout_.pooling, params, batch, documents))

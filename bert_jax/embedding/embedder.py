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
from bert_jax.runtime import sharding
from data_pipeline.tokenizers import Tokenizer

USUAL_LENGTH = 512  # tokens of the rows that a batch size counts, where the encoder takes longer ones
BATCH_TOKENS, CPU_BATCH_TOKENS = 16384, 2048  # where no batch size is given; a CPU's caches hold no more
_AHEAD = 2  # batches on the device while the host makes the next

Done = Callable[[int], Any]  # told how many more texts are done


class Embedder:
    """An encoder with a way to read vectors from it; compiled once for each shape of its packed rows.

    Args:
      model: with the dtype of the matrix products.
      batch_size: rows of the longest length that a device encodes at once; of shorter ones as many as have the same
        number of tokens; 0 for a default by device.
      row_lengths: of packed rows; None for `pack.row_lengths`.
      mesh: whose devices share the rows, each with a copy of the weights; None for one device.
    """

    def __init__(
        self,
        model: Model,
        params: dict[str, Any],
        tokenizer: Tokenizer,
        readout: Readout,
        *,
        batch_size: int = 0,
        row_lengths: Sequence[int] | None = None,
        mesh: jax.sharding.Mesh | None = None,
    ):
        # A text alone in its row sees the same with and without isolation; with it, it may share the row.
        self.model = dataclasses.replace(model, isolate_documents=True)
        self.params = params if mesh is None else jax.device_put(params, sharding.everywhere(mesh))
        self.tokenizer, self.readout = tokenizer, readout
        self.longest = min(model.max_length, readout.max_length or model.max_length)
        self.row_lengths = row_lengths or pack.row_lengths(self.longest)
        usual = CPU_BATCH_TOKENS if jax.default_backend() == "cpu" else BATCH_TOKENS
        self.batch_tokens = batch_size * min(self.longest, USUAL_LENGTH) or usual
        self._devices, self._place = 1, lambda batch: batch
        encode = functools.partial(run, self.model, self.readout)
        if mesh is not None:
            self._devices, self._place = mesh.size, functools.partial(sharding.put_batch, mesh=mesh)
            encode = sharding.on_mesh(mesh, encode)
        self._run = jax.jit(encode, static_argnums=2)

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

        for packed in pack.batches(texts, self.row_lengths, self.batch_tokens, self.model.width, self._devices):
            batch = {"tokens": packed.tokens, "segments": packed.segments, "positions": packed.positions}
            running.append((packed.texts, self._run(self.params, self._place(batch), packed.texts.shape[1])))
            if len(running) > _AHEAD:
                fetch()
        while running:
            fetch()
        return out


def run(
    model: Model, readout_: Readout, params: dict[str, Any], batch: dict[str, jax.Array], documents: int
) -> jax.Array:
    """Packed rows [B, L] → float32 [B, K, width]."""
    batch = batch | {"token_types": jax.numpy.zeros_like(batch["tokens"])}
    return readout.apply(readout_.steps, vectors(model, readout_.pooling, params, batch, documents))

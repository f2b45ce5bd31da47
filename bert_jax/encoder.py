"""A trained encoder as a library: `bert_jax.load(path)`, then `encoder(tokens)`."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Dtype, Model
from bert_jax.embedding import readout as readouts
from bert_jax.embedding.embedder import Done, Embedder
from bert_jax.embedding.readout import Readout
from bert_jax.formats import folder
from bert_jax.modeling import bert
from bert_jax.modeling.heads import mlm_head, pooler
from configuration.variants import load as load_variant
from configuration.variants import use
from data_pipeline.tokenizers import Tokenizer


class Encoder:
    """An encoder with its weights.

    Attributes:
      config: the model's configuration.
      params: nested dict of float32 arrays (see `bert_jax.modeling.bert`).
      tokenizer: None where the folder had none.
      readout: how the folder says that vectors are read; None where it says nothing.
    """

    def __init__(
        self,
        config: Model,
        params: dict[str, Any],
        tokenizer: Tokenizer | None = None,
        readout: Readout | None = None,
    ):
        # The kernel of the training run may not exist on this machine.
        self.config = dataclasses.replace(config, kernel=use("auto"), remat="none")
        self.params = jax.tree.map(jnp.asarray, params)
        self.tokenizer = tokenizer
        self.readout = readout
        self._run = jax.jit(functools.partial(run, self.config))
        self._embedders: dict[Any, Embedder] = {}

    def __call__(self, tokens: Any, segments: Any = None, token_types: Any = None) -> dict[str, jax.Array | None]:
        """Encodes rows of tokens; compiled once for each shape.

        Args:
          tokens: int [B, L], ids of the vocabulary, special tokens included.
          segments: int [B, L], the number of each token's document within its row from 1, 0 for padding; tokens
            attend to those of their own document. None for one document a row, in which tokens equal to the tokenizer's
            padding id are padding (without a tokenizer, nothing is).
          token_types: int [B, L] below `config.token_types`, zeros where there are none; None for zeros.

        Returns:
          hidden [B, L, D]; pooled [B, D] and logits [B, L, V], or None where the weights have no such head. Float32.

        Raises:
          ValueError: a shape, an id or a length that the encoder does not take.
        """
        tokens = _ids("tokens", tokens, self.config.vocab_size)
        segments = self._not_padding(tokens) if segments is None else _ids("segments", segments, 2**31)
        token_types = (
            np.zeros_like(tokens)
            if token_types is None
            else _ids("token_types", token_types, max(1, self.config.token_types))
        )
        for name, array in (("segments", segments), ("token_types", token_types)):
            if array.shape != tokens.shape:
                raise ValueError(
                    f"{name} has shape {list(array.shape)}, tokens {list(tokens.shape)}; they must be the same"
                )
        longest = load_variant("bert_jax.modeling.positions", self.config.positions)(self.config).longest
        if longest and tokens.shape[1] > longest:
            raise ValueError(f"rows of {tokens.shape[1]} tokens are longer than the {longest} positions")
        return self._run(self.params, tokens, segments, token_types)

    def tokenize(self, texts: str | Sequence[str]) -> dict[str, np.ndarray]:
        """The padded batch of some texts that `encoder(**batch)` takes: [CLS] text [SEP], cut to `config.max_length`.

        Returns:
          tokens, segments (1, and 0 at padding) and token_types: int32 [B, L], L that of the longest text.

        Raises:
          ValueError: the encoder has no tokenizer, or there is no text.
        """
        if self.tokenizer is None:
            raise ValueError("the encoder's folder has no tokenizer; give its token ids to encoder(tokens)")
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts:
            raise ValueError("texts is empty; give one text at least")
        t = self.tokenizer
        rows = [[t.cls_id, *ids[: self.config.max_length - 2], t.sep_id] for ids in t.encode_batch(texts)]
        tokens = np.full((len(rows), max(map(len, rows))), t.pad_id, np.int32)
        segments = np.zeros_like(tokens)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], segments[i, : len(row)] = row, 1
        return {"tokens": tokens, "segments": segments, "token_types": np.zeros_like(tokens)}

    def embed(
        self,
        texts: str | Sequence[str],
        pooling: str = "",
        normalise: bool | None = None,
        *,
        layer_weights: tuple[float, ...] = (),
        dimensions: int = 0,
        batch_size: int = 0,
        dtype: Dtype | None = None,
        done: Done | None = None,
    ) -> np.ndarray:
        """The vectors of texts, packed into rows but isolated from each other, cut to `config.max_length` tokens.

        Args:
          pooling: "cls", "mean", "max", "mean_sqrt", "weighted_mean", "last", several joined by "+", or "first_last";
            empty for what the folder says, or "mean".
          normalise: to length 1; None for what the folder says, or True.
          layer_weights: n, of the states after each layer; empty for the last layer's alone.
          dimensions: leading dimensions to keep, normalised again; 0 for all.
          batch_size: rows of the longest length that are encoded at once; 0 for a default by device.
          dtype: of the matrix products; None for the configuration's.
          done: called with how many more texts are done.

        Returns:
          float32 [n, D], in the order of the texts.

        Raises:
          ValueError: the encoder has no tokenizer.
          ConfigError: an unknown pooling, a wrong number of weights, or more dimensions than there are.
        """
        if self.tokenizer is None:
            raise ValueError("the encoder's folder has no tokenizer, so text cannot be tokenized")
        asked = (pooling, normalise, layer_weights, dimensions, batch_size, dtype)
        if asked not in self._embedders:
            read = readouts.chosen(self.readout, self.config, pooling, normalise, layer_weights, dimensions)
            self._embedders[asked] = self.embedder(read, batch_size, dtype)
        return self._embedders[asked]([texts] if isinstance(texts, str) else list(texts), done)

    def embedder(
        self,
        readout: Readout,
        batch_size: int = 0,
        dtype: Dtype | None = None,
        mesh: jax.sharding.Mesh | None = None,
    ) -> Embedder:
        """The embedder behind `embed`, for other readouts or several devices; arguments as there."""
        assert self.tokenizer is not None
        model = self.config if dtype is None else dataclasses.replace(self.config, dtype=dtype)
        return Embedder(model, self.params, self.tokenizer, readout, batch_size=batch_size, mesh=mesh)

    def _not_padding(self, tokens: np.ndarray) -> np.ndarray:
        """segments [B, L] of rows of one document each."""
        return np.ones_like(tokens) if self.tokenizer is None else (tokens != self.tokenizer.pad_id).astype(np.int32)


def load(path: str | os.PathLike[str], store: str = "", checkpoints: str = "") -> Encoder:
    """Opens a work folder, a folder of ours, or a checkpoint in PyTorch's, sentence-transformers' or Google's layout.

    Args:
      store, checkpoints: of a work folder whose configuration names paths outside the folder: it may be untrusted,
        so they are opened only if they are named here too.

    Raises:
      ConfigError: there is no encoder, or what is there does not fit together; the message says what and where.
    """
    opened = folder.read(Path(path), store=store, checkpoints=checkpoints)
    return Encoder(opened.model, opened.params, opened.tokenizer, opened.readout)


def run(
    model: Model, params: dict[str, Any], tokens: jax.Array, segments: jax.Array, token_types: jax.Array
) -> dict[str, jax.Array | None]:
    """The outputs of every head that the weights have, for rows int [B, L]."""
    batch = {
        "tokens": tokens,
        "segments": segments,
        "token_types": token_types,
        "positions": positions(segments, model.isolate_documents),
    }
    hidden = bert.encode(model, params, batch).astype(jnp.float32)
    return {
        "hidden": hidden,
        "pooled": pooler.pool(model, params, hidden).astype(jnp.float32) if "pooler" in params else None,
        "logits": mlm_head.logits(model, params, hidden) if "mlm_head" in params else None,
    }


def positions(segments: jax.Array, isolate: bool) -> jax.Array:
    """segments int [B, L] → positions int [B, L], from 0 in each document if `isolate`, else in each row."""
    index = jnp.broadcast_to(jnp.arange(segments.shape[1], dtype=jnp.int32), segments.shape)
    if not isolate:
        return index
    begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    return index - jax.lax.cummax(jnp.where(begins, index, 0), axis=1)


def _ids(name: str, array: Any, size: int) -> np.ndarray:
    """An int32 array [B, L] of numbers from 0 to `size` − 1."""
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind not in "iu" or array.size == 0:
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}; it must be a non-empty integer array [B, L]")
    if array.min() < 0 or array.max() >= size:
        raise ValueError(
            f"{name} has numbers from {array.min()} to {array.max()}; they must be between 0 and {size - 1}"
        )
    return array.astype(np.int32)

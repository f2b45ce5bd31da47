"""An encoder whose tokenizer has learnt new pieces: each of them starts as the mean of those that it replaces."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bert_jax.config import Config, Model
from bert_jax.modeling import bert, heads
from bert_jax.objectives import parts_of
from bert_jax.runtime.trees import flatten, unflatten
from configuration.variants import Variant
from data_pipeline.new_pieces import replaced
from data_pipeline.tokenizers import Tokenizer, trained_size


def with_room(model: Model, tokenizer: Variant) -> Model:
    """The encoder with an embedding for every piece that its tokenizer will have."""
    size = trained_size(tokenizer) if tokenizer.name == "checkpoint" else None
    return dataclasses.replace(model, vocab_size=max(model.vocab_size, size or 0))


def extended(config: Config, given: Model, params: Mapping[str, Any], tokenizer: Tokenizer, first: int) -> dict:
    """The parameters of an encoder with a row for each piece, wherever the vocabulary has rows.

    Args:
      config: of the run.
      given: the model of the parameters.
      tokenizer: with the new pieces.
      first: the id of the first of them.
    """
    kept = heads.parts(config.model, "mlm_head")  # the one head with such rows, also where the run does not train it
    axes = flatten(bert.parameter_axes(config.model, {**kept, **parts_of(config)}))
    rows = replaced(tokenizer, first)
    grown = flatten(params)
    for name, x in grown.items():
        if "vocab" in axes.get(name, ()):
            old = np.moveaxis(np.asarray(x), axes[name].index("vocab"), 0)[: given.vocab_size]
            new = with_rows(old, first, rows, config.model.padded_vocab_size)
            grown[name] = np.moveaxis(new, 0, axes[name].index("vocab"))
    return unflatten(grown)


def with_rows(old: np.ndarray, first: int, rows: Sequence[Sequence[int]], size: int) -> np.ndarray:
    """Rows [V, …] → [size, …]: from `first` on the mean of those that each new one replaces, then zeros.

    Args:
      rows: for each new row those that it replaces; the mean of all where it is none.
    """
    new = np.zeros((size, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    for i, ids in enumerate(rows, first):
        new[i] = old[list(ids) or slice(first)].mean(axis=0)
    return new

"""Masked language modelling with masks drawn once for each row (Devlin et al. 2018; Liu et al. 2019, section 4.1).

Google's BERT wrote its training rows to disk with their masks, each row `copies` times. Here a row's masks are drawn
from a key that is a hash of its tokens, so that every epoch shows one of the same few: nothing is stored.
"""

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Objective, Vocabulary, mlm
from configuration.variants import ConfigError, Variant, use


def parts(model: Model) -> Parts:
    """As mlm.py."""
    return heads.parts(model, "mlm_head")


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.15,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask"),
    copies: int = 1,
) -> Objective:
    """The objective.

    Args:
      mask_rate, masking, replacement: as in mlm.py, whose loss it is.
      copies: of each row with masks of their own; one is shown, drawn anew each time. BERT had 10.
    """
    if copies < 1:
        raise ConfigError(f"config.objective.copies is {copies}; it must be at least 1")
    dynamic = mlm.build(model, vocabulary, mask_rate=mask_rate, masking=masking, replacement=replacement)
    draw, _ = mlm.drawing(vocabulary, mask_rate, masking, replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As mlm.py's, with another source of randomness."""
        rows = batch["tokens"].shape[0]
        shown = jax.random.randint(key, (rows,), 0, copies)
        moment = {name: batch[name] for name in batch if name == "moment"}
        of_rows = {name: batch[name] for name in batch if name not in moment}

        def one(row: Batch, copy: jax.Array) -> Batch:
            row_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), hashed(row["tokens"])), copy)
            out = draw(jax.tree.map(lambda x: x[None], row) | moment, row_key)
            return {name: x[0] for name, x in out.items() if name not in moment}

        return mlm.shared_out(jax.vmap(one)(of_rows, shown))

    return Objective(corrupt, dynamic.loss, dynamic.needs)


def hashed(tokens: jax.Array) -> jax.Array:
    """int [L] → uint32: a 32-bit hash of the row."""
    place = jnp.arange(tokens.shape[0], dtype=jnp.uint32)
    mixed = (tokens.astype(jnp.uint32) + place * jnp.uint32(0x9E3779B9)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(0xC2B2AE35)
    return (mixed ^ (mixed >> 13)).sum(dtype=jnp.uint32)

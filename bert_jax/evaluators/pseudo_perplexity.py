"""The pseudo-perplexity (Salazar et al. 2020, arXiv 1910.14659, section 2): tokens masked alone, one at a time.

One forward pass per token, so on few rows: `config.evaluation.single_mask_rows`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Config
from bert_jax.evaluators import Evaluator, Figures, compiled, held_out, put
from bert_jax.evaluators.masked_language import objective_of, unigram_loss, unsupported
from bert_jax.objectives import Vocabulary
from bert_jax.objectives.mlm import is_text
from bert_jax.training.setup import vocabulary_of
from data_pipeline.store import Store

__all__ = ["build", "describe", "unsupported"]


def build(config: Config, store: Store, mesh: Any) -> Evaluator:
    """pseudo_perplexity, unigram_perplexity, pseudo_perplexity_tokens: exp of the mean −log p of every text token."""
    objective = objective_of(config, store)
    vocabulary, unigram = vocabulary_of(store), unigram_loss(store)
    summed = compiled(lambda params, batch: objective.loss(params, (), batch, None)[0], mesh)

    def evaluate(params: Any) -> Figures:
        sums = np.zeros(3)
        for batch in held_out(config, store, config.evaluation.single_mask_rows, None):
            for masked in masked_alone(batch, vocabulary, config.evaluation.batch_size):
                weights = masked["target_weights"]
                loss = jax.device_get(summed(params, put(masked, mesh)))
                sums += [loss, (unigram[masked["targets"]] * weights).sum(), weights.sum()]
        loss, baseline, tokens = sums
        return {
            "pseudo_perplexity": math.exp(loss / tokens),
            "unigram_perplexity": math.exp(baseline / tokens),
            "pseudo_perplexity_tokens": int(tokens),
        }

    return Evaluator(evaluate, describe, "pseudo_perplexity")


def masked_alone(
    batch: dict[str, np.ndarray], vocabulary: Vocabulary, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Each text token masked in a copy of its row: batches of one prediction a row, the last one padded."""
    rows, places = np.nonzero(
        np.asarray(is_text(jnp.asarray(batch["tokens"]), jnp.asarray(batch["segments"]), vocabulary))
    )
    for start in range(0, len(rows), batch_size):
        row, place = rows[start : start + batch_size], places[start : start + batch_size]
        missing = batch_size - len(row)
        row, place = np.pad(row, (0, missing)), np.pad(place, (0, missing))
        copies = {name: values[row] for name, values in batch.items()}
        targets = copies["tokens"][np.arange(batch_size), place].astype(np.int32)
        copies["tokens"][np.arange(batch_size), place] = vocabulary.mask
        weights = (np.arange(batch_size) < batch_size - missing).astype(np.float32)
        yield copies | {
            "target_positions": place[:, None],
            "targets": targets[:, None],
            "target_weights": weights[:, None],
        }


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as a line of a table."""
    f = figures
    return f"""\
  pseudo-perplexity           {f["pseudo_perplexity"]:8.1f}  {f["unigram_perplexity"]:8.1f}   \
({f["pseudo_perplexity_tokens"]:,} tokens, each masked alone)"""

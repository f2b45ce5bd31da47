"""Evaluates a checkpoint on held-out documents.

    python -m bert_jax.evaluate --workdir=runs/demo

Three figures: cross-entropy and accuracy at masked places (masks fixed by `config.evaluation.seed`), beside the
unigram baseline of the same places; and the pseudo-perplexity (Salazar et al. 2020, section 2), where each token of
some rows is masked alone and predicted from all the others.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax import cli
from bert_jax.checkpoint import restore_params
from bert_jax.config import Config
from bert_jax.objectives import Objective, Vocabulary
from bert_jax.objectives.mlm import is_text
from bert_jax.train import open_store, vocabulary_of
from bert_jax.train_step import make_evaluation_step
from bert_jax.variants import load, use
from data_pipeline import pipeline
from data_pipeline.store import Store


def main() -> dict[str, Any]:
    """The command."""
    workdir = Path(cli.FLAGS.workdir)
    figures = evaluate(workdir)
    cli.write_json(workdir / "evaluation.json", figures)
    print(describe(figures))
    return figures


def evaluate(workdir: Path) -> dict[str, Any]:
    """The figures of the newest checkpoint, as Python numbers; losses are in nat a predicted token."""
    config, params, step = restore_params(workdir)
    store = open_store(config, workdir)
    objective = load("bert_jax.objectives", use("mlm", mask_rate=config.evaluation.mask_rate))(
        config.model, vocabulary_of(store)
    )
    return {
        "step": step,
        **at_masks(config, store, params, objective),
        **pseudo_perplexity(config, store, params, objective),
    }


def at_masks(config: Config, store: Store, params: Any, objective: Objective) -> dict[str, Any]:
    """Loss and accuracy over the masked places of the held-out rows, and the unigram baseline's over the same."""
    run = jax.jit(make_evaluation_step(objective, config.evaluation.seed))
    unigram = unigram_loss(store)
    rows, sums = 0, np.zeros(4)
    for number, batch in enumerate(held_out(config, store, config.evaluation.max_rows)):
        out = jax.device_get(run(params, batch, jnp.int32(number)))
        rows += int((batch["segments"] > 0).any(1).sum())
        baseline = (unigram[out["targets"]] * out["weights"]).sum(dtype=np.float64)
        sums += [out["loss"], out["weight"], out["correct"], baseline]
    loss, weight, correct, baseline = sums
    return {
        "eval_loss": loss / weight,
        "unigram_loss": baseline / weight,
        "gain_over_unigram": (baseline - loss) / weight,
        "eval_accuracy": correct / weight,
        "eval_rows": rows,
        "eval_predictions": int(weight),
    }


def pseudo_perplexity(config: Config, store: Store, params: Any, objective: Objective) -> dict[str, Any]:
    """exp of the mean −log p of every text token of `evaluation.single_mask_rows` rows, each masked alone."""
    vocabulary = vocabulary_of(store)
    unigram = unigram_loss(store)

    @jax.jit
    def summed(params: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        loss, weight, _ = objective.loss(params, batch, None)
        return loss, weight

    sums = np.zeros(3)
    for batch in held_out(config, store, config.evaluation.single_mask_rows):
        for masked in masked_alone(batch, vocabulary, config.evaluation.batch_size):
            loss, weight = jax.device_get(summed(params, masked))
            sums += [loss, (unigram[masked["targets"]] * masked["target_weights"]).sum(), weight]
    loss, baseline, tokens = sums
    return {
        "pseudo_perplexity": math.exp(loss / tokens),
        "unigram_perplexity": math.exp(baseline / tokens),
        "pseudo_perplexity_tokens": int(tokens),
    }


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
            "target_places": place[:, None],
            "targets": targets[:, None],
            "target_weights": weights[:, None],
        }


def held_out(config: Config, store: Store, rows: int) -> Iterator[dict[str, np.ndarray]]:
    """At most `rows` rows of the held-out documents, evenly spread, in batches."""
    return pipeline.evaluation_batches(
        store.split("held_out"),
        config.data.rows,
        config.evaluation_length,
        config.evaluation.batch_size,
        pipeline.specials_of(store.tokenizer),
        max_rows=rows,
        isolate=config.model.isolate_documents,
    )


def unigram_loss(store: Store) -> np.ndarray:
    """[V] float64: −log of each token's share of the training text, every count raised by one (Laplace)."""
    counts = store.token_counts.astype(np.float64) + 1
    return np.log(counts.sum()) - np.log(counts)


def describe(figures: dict[str, Any]) -> str:
    """The figures as a small table."""
    return "\n".join(
        [
            f"held-out documents, {figures['eval_predictions']:,} masked tokens of {figures['eval_rows']:,} rows, "
            f"step {figures['step']:,}",
            f"  cross-entropy      {figures['eval_loss']:8.4f} nat   unigram baseline {figures['unigram_loss']:8.4f}"
            f"   gain {figures['gain_over_unigram']:.4f}",
            f"  accuracy           {figures['eval_accuracy']:8.2%}",
            f"  pseudo-perplexity  {figures['pseudo_perplexity']:8.1f}       unigram baseline "
            f"{figures['unigram_perplexity']:8.1f}   "
            f"({figures['pseudo_perplexity_tokens']:,} tokens, each masked alone)",
        ]
    )


if __name__ == "__main__":
    cli.run(main, cli.workdir_flag)

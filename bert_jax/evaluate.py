"""Evaluates a checkpoint on held-out documents.

    python -m bert_jax.evaluate --workdir=runs/demo

Cross-entropy and accuracy at predicted places (drawn by `config.evaluation.seed`), beside the unigram baseline of the
same places; and the pseudo-perplexity (Salazar et al. 2020, section 2), where each token of
some rows is masked alone and predicted from all the others.
"""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.checkpoints.manager import restore_params
from bert_jax.config import Config
from bert_jax.objectives import Objective, Vocabulary
from bert_jax.objectives.mlm import is_text
from bert_jax.runtime import compilation_cache
from bert_jax.training.setup import open_store, vocabulary_of
from configuration import cli
from configuration.variants import load, use
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
    # The kernel that the run named may not exist on this machine.
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, kernel=use("auto")))
    store = open_store(config, workdir)
    objective = load("bert_jax.objectives", use("mlm", mask_rate=config.evaluation.mask_rate))(
        config.model, vocabulary_of(store)
    )
    return {
        "step": step,
        "weights": ", ".join(t.name for t in config.transforms) or "last",
        **at_masks(config, store, params, objective),
        **pseudo_perplexity(config, store, params, objective),
    }


def at_masks(config: Config, store: Store, params: Any, objective: Objective) -> dict[str, Any]:
    """Loss and accuracy over the predicted places of the held-out rows, and the unigram baseline's over the same.

    10% of the predicted tokens are left unchanged, and the model first learns to copy them. So the figures where
    [MASK] is shown stand beside those of all.
    """
    vocabulary = vocabulary_of(store)
    unigram = jnp.asarray(unigram_loss(store), jnp.float32)

    @jax.jit
    def sums_of(params: Any, batch: dict[str, jax.Array], number: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed), number)
        corrupted = objective.corrupt(batch, key)
        shown = jnp.take_along_axis(corrupted["tokens"], corrupted["target_positions"], axis=1)
        weights = (corrupted["target_weights"] > 0).astype(jnp.float32)  # sums are divided after the last batch
        sums = []
        for chosen in (weights, weights * (shown == vocabulary.mask)):
            loss, metrics = objective.loss(params, (), corrupted | {"target_weights": chosen}, None)
            baseline = (unigram[corrupted["targets"]] * chosen).sum()
            sums.append(jnp.stack([loss, chosen.sum(), metrics["accuracy"], baseline]))
        return jnp.stack(sums)

    rows, sums = 0, np.zeros((2, 4))
    for number, batch in enumerate(held_out(config, store, config.evaluation.max_rows)):
        sums += jax.device_get(sums_of(params, batch, jnp.int32(number)))
        rows += int((batch["segments"] > 0).any(1).sum())
    (loss, weight, correct, baseline), (mask_loss, mask_weight, mask_correct, mask_baseline) = sums.tolist()
    return {
        "eval_loss": loss / weight,
        "unigram_loss": baseline / weight,
        "gain_over_unigram": (baseline - loss) / weight,
        "eval_accuracy": correct / weight,
        "mask_loss": mask_loss / mask_weight,
        "mask_unigram_loss": mask_baseline / mask_weight,
        "mask_gain_over_unigram": (mask_baseline - mask_loss) / mask_weight,
        "mask_accuracy": mask_correct / mask_weight,
        "eval_rows": rows,
        "eval_predictions": int(weight),
    }


def pseudo_perplexity(config: Config, store: Store, params: Any, objective: Objective) -> dict[str, Any]:
    """exp of the mean −log p of every text token of `evaluation.single_mask_rows` rows, each masked alone."""
    vocabulary = vocabulary_of(store)
    unigram = unigram_loss(store)

    @jax.jit
    def summed(params: Any, batch: dict[str, jax.Array]) -> jax.Array:
        return objective.loss(params, (), batch, None)[0]

    sums = np.zeros(3)
    for batch in held_out(config, store, config.evaluation.single_mask_rows):
        for masked in masked_alone(batch, vocabulary, config.evaluation.batch_size):
            weights = masked["target_weights"]
            loss = jax.device_get(summed(params, masked))
            sums += [loss, (unigram[masked["targets"]] * weights).sum(), weights.sum()]
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
            "target_positions": place[:, None],
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
    f = figures
    return f"""\
held-out documents, {f["eval_predictions"]:,} predicted tokens of {f["eval_rows"]:,} rows, step {f["step"]:,}\
{"" if f.get("weights", "last") == "last" else f", {f['weights']} of the weights"}
                                 model   unigram      gain   accuracy
  cross-entropy, nat          {f["eval_loss"]:8.4f}  {f["unigram_loss"]:8.4f}  {f["gain_over_unigram"]:8.4f}   \
{f["eval_accuracy"]:8.1%}
  … where [MASK] is shown     {f["mask_loss"]:8.4f}  {f["mask_unigram_loss"]:8.4f}  \
{f["mask_gain_over_unigram"]:8.4f}   {f["mask_accuracy"]:8.1%}
  pseudo-perplexity           {f["pseudo_perplexity"]:8.1f}  {f["unigram_perplexity"]:8.1f}   \
({f["pseudo_perplexity_tokens"]:,} tokens, each masked alone)"""


if __name__ == "__main__":
    cli.run(compilation_cache.cached(main), cli.workdir_flag)

"""Cross-entropy and accuracy of predicted tokens, beside the unigram baseline on the same tokens.

The tokens are drawn with `config.evaluation.seed` at rate `config.evaluation.mask_rate`, independent of training.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Config
from bert_jax.evaluators import Evaluator, Figures, compiled, held_out, rows_in
from bert_jax.objectives import Objective, distinct, mlm, parts_of
from bert_jax.training.setup import vocabulary_of
from configuration.variants import ConfigError
from data_pipeline.store import Store


def build(config: Config, store: Store, mesh: Any) -> Evaluator:
    """eval_loss [nat], eval_accuracy, unigram_loss, …; the same where [MASK] is shown; eval_rows, eval_predictions."""
    objective = objective_of(config, store)
    return Evaluator(at_masks(config, store, objective, mesh), describe, "eval_loss", cheap=True)


def unsupported(config: Config) -> str:
    """Why the run has nothing that predicts tokens."""
    has_head = "mlm_head" in parts_of(config)
    named = " and ".join(objective.name for objective in distinct(config.objectives))
    return "" if has_head else f"the objective {named} trains no masked-language-model head"


def objective_of(config: Config, store: Store) -> Objective:
    """BERT's masks at the evaluation's rate.

    Raises:
      ConfigError: the run has no head that predicts tokens.
    """
    if reason := unsupported(config):
        raise ConfigError(f"config.evaluators: {reason}; name held_out_loss instead")
    return mlm.build(config.model, vocabulary_of(store), mask_rate=config.evaluation.mask_rate)


def at_masks(config: Config, store: Store, objective: Objective, mesh: Any = None) -> Callable[[Any], Figures]:
    """params → loss and accuracy at the predicted tokens of the held-out rows, and the unigram baseline's at the same.

    10% of the predicted tokens are left unchanged, and the model first learns to copy them. So the figures at
    [MASK] are given too.
    """
    vocabulary = vocabulary_of(store)
    unigram = unigram_loss(store).astype(np.float32)

    def sums_of(params: Any, batch: dict[str, jax.Array], number: Any) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(config.evaluation.seed), number)
        corrupted = objective.corrupt(batch, key)
        shown = jnp.take_along_axis(corrupted["tokens"], corrupted["target_positions"], axis=1)
        weights = (corrupted["target_weights"] > 0).astype(jnp.float32)  # sums are divided after the last batch
        sums = []
        for chosen in (weights, weights * (shown == vocabulary.mask)):
            loss, metrics = objective.loss(params, (), corrupted | {"target_weights": chosen}, None)
            baseline = (jnp.asarray(unigram)[corrupted["targets"]] * chosen).sum()
            sums.append(jnp.stack([loss, chosen.sum(), metrics["accuracy"], baseline]))
        return jnp.stack(sums)

    run = compiled(sums_of, mesh)

    def evaluate(params: Any) -> Figures:
        rows, sums = 0, np.zeros((2, 4))
        for number, batch in enumerate(held_out(config, store, config.evaluation.max_rows, mesh)):
            sums += jax.device_get(run(params, batch, np.int32(number)))
            rows += rows_in(batch)
        return as_figures(sums, rows)

    return evaluate


def as_figures(sums: np.ndarray, rows: int) -> Figures:
    """The figures from sums [2, 4]: of all predicted tokens and of those where [MASK] is shown."""
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


def unigram_loss(store: Store) -> np.ndarray:
    """[V] float64: −log of each token's share of the training text, every count raised by one (Laplace)."""
    counts = store.token_counts.astype(np.float64) + 1
    return np.log(counts.sum()) - np.log(counts)


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as a small table."""
    f = figures
    measured = f"{f['eval_predictions']:,} tokens of {f['eval_rows']:,} rows"
    return f"""\
  {measured:28}     model   unigram      gain   accuracy
  cross-entropy, nat          {f["eval_loss"]:8.4f}  {f["unigram_loss"]:8.4f}  {f["gain_over_unigram"]:8.4f}   \
{f["eval_accuracy"]:8.1%}
  … where [MASK] is shown     {f["mask_loss"]:8.4f}  {f["mask_unigram_loss"]:8.4f}  \
{f["mask_gain_over_unigram"]:8.4f}   {f["mask_accuracy"]:8.1%}"""

"""The objectives between masked language modelling and ELECTRA, against NumPy in float64."""

import dataclasses

import jax
import numpy as np
import pytest
from test_mlm import MODEL, VOCABULARY, make_batch

from bert_jax.config import use
from bert_jax.modeling import bert
from bert_jax.modeling.heads import discriminator_head, mlm_head
from bert_jax.objectives import _generator
from bert_jax.runtime.trees import flatten
from configuration.variants import load

SIZE = {"generator_size": 1 / 3, "generator_layers": 1}
STILL = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)
GENERATOR = _generator.generator_model(STILL, 1 / 3, 1)


def computed(name: str):
    """The corrupted batch, the guesses, the loss with its metrics, the gradients, log p [B, L, V] and parameters."""
    options = use(name, mask_rate=0.3, **SIZE)
    objective = load("bert_jax.objectives", options)(STILL, VOCABULARY)
    parts = load("bert_jax.objectives", use(name, **SIZE), "parts")(STILL)
    batch = make_batch(np.random.default_rng(1), rows=8, length=37)

    @jax.jit
    def run(batch):
        params = jax.tree.map(lambda x: x + 0.05, bert.init(STILL, jax.random.key(0), parts))
        corrupted = objective.corrupt(batch, jax.random.key(2))
        found, gradients = jax.value_and_grad(lambda p: objective.loss(p, (), corrupted, None), has_aux=True)(params)
        guesses = _generator.guess(GENERATOR, params, corrupted, None).batch
        hidden = bert.encode(STILL, params, guesses)
        copies = None
        if "copy_head" in params:
            copies = discriminator_head.logits(STILL, {"discriminator_head": params["copy_head"]}, hidden)
        return corrupted, guesses, found, gradients, mlm_head.logits(STILL, params, hidden), copies

    corrupted, guesses, (loss, metrics), gradients, logits, copies = jax.device_get(run(batch))
    logits = np.asarray(logits, np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert all(np.abs(g).max() > 0 for g in flatten(gradients).values())
    return batch, corrupted, guesses, loss, metrics, log_p, copies


def test_the_predicted_tokens_from_the_guesses() -> None:
    _, corrupted, _, loss, metrics, log_p, _ = computed("replace_mlm")
    rows, slots = np.nonzero(corrupted["target_weights"])
    places, targets = corrupted["target_positions"][rows, slots], corrupted["targets"][rows, slots]
    wanted = -log_p[rows, places, targets].mean()
    np.testing.assert_allclose(metrics["mlm_loss"], wanted, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["generator_loss"] + wanted, rtol=1e-5)


def test_all_tokens_with_a_copy_of_what_is_read() -> None:
    batch, _, guesses, loss, metrics, log_p, copies = computed("all_token_mlm")
    p = np.exp(np.take_along_axis(log_p, batch["tokens"][..., None].astype(int), -1)[..., 0])
    copy = 1 / (1 + np.exp(-np.asarray(copies, np.float64)))
    assert guesses["replaced"].any()
    whole = copy * (guesses["tokens"] == batch["tokens"]) + (1 - copy) * p
    wanted = -np.log(whole)[batch["segments"] > 0].mean()
    np.testing.assert_allclose(metrics["all_token_loss"], wanted, rtol=1e-5)
    np.testing.assert_allclose(loss, metrics["mlm_loss"] + wanted, rtol=1e-5)


@pytest.mark.parametrize("name", ["replace_mlm", "all_token_mlm"])
def test_the_generator_is_an_encoder_of_its_own(name) -> None:
    params = bert.init(STILL, jax.random.key(0), load("bert_jax.objectives", use(name, **SIZE), "parts")(STILL))
    model, own = load("bert_jax.objectives", use(name, **SIZE), "encoders")(STILL, params)["generator"]
    assert model == GENERATOR
    assert own.keys() == {"embeddings", "layers", "mlm_head"}

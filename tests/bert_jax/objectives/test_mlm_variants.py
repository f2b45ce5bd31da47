"""Static masks: one row, one mask, whatever the step. Pairs: the two losses of BERT against NumPy in float64."""

import dataclasses

import jax
import numpy as np
import pytest
from test_mlm import MODEL, VOCABULARY, make_batch

from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import mlm_head, pair_head, pooler
from bert_jax.objectives import mlm_pair, mlm_static, normalized
from configuration.variants import ConfigError

KEYS = [jax.random.key(seed) for seed in range(40)]
PAIRS: Model = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)


def test_a_row_keeps_its_masks_wherever_and_whenever_it_is_shown():
    batch = make_batch(np.random.default_rng(1), rows=50, length=37)
    batch["tokens"][7] = batch["tokens"][8]
    batch["segments"][7] = batch["segments"][8]
    corrupt = jax.jit(mlm_static.build(MODEL, VOCABULARY, mask_rate=0.3).corrupt)
    one, other = corrupt(batch, KEYS[0]), corrupt({n: x[::-1] for n, x in batch.items()}, KEYS[1])
    for name in one:
        np.testing.assert_array_equal(one[name], other[name][::-1])
    np.testing.assert_array_equal(one["target_positions"][7], one["target_positions"][8])
    places = {tuple(np.sort(p[w > 0])) for p, w in zip(one["target_positions"], one["target_weights"], strict=True)}
    assert len(places) > 40  # rows differ
    text = ((batch["segments"] > 0) & (batch["tokens"] > 4)).sum(1)
    np.testing.assert_array_equal(
        (one["target_weights"] > 0).sum(1), np.rint(np.float32(0.3) * text.astype(np.float32)).clip(text > 0)
    )


def test_a_row_has_so_many_copies():
    batch = make_batch(np.random.default_rng(1), rows=3, length=37)
    corrupt = jax.jit(mlm_static.build(MODEL, VOCABULARY, mask_rate=0.3, copies=4).corrupt)
    seen = {tuple(np.asarray(corrupt(batch, key)["target_positions"][0])) for key in KEYS}
    assert len(seen) == 4
    with pytest.raises(ConfigError, match=r"config.objective.copies is 0"):
        mlm_static.build(MODEL, VOCABULARY, copies=0)


def test_the_loss_of_tokens_and_pairs():
    rng = np.random.default_rng(2)
    batch = make_batch(rng, rows=9, length=37) | {"pair_label": rng.integers(0, 2, 9).astype(np.int32)}
    objective = mlm_pair.build(PAIRS, VOCABULARY, mask_rate=0.3, pair_weight=0.5)

    @jax.jit
    def run(batch):
        params = bert.init(PAIRS, KEYS[3], heads.parts(PAIRS, "mlm_head", "pooler", "pair_head"))
        corrupted = objective.corrupt(batch, KEYS[4])
        hidden = bert.encode(PAIRS, params, corrupted)
        tokens = mlm_head.logits(PAIRS, params, hidden)
        choice = pair_head.logits(PAIRS, params, pooler.pool(PAIRS, params, hidden))
        return corrupted, objective.loss(params, (), corrupted, None), tokens, choice

    corrupted, (total, metrics), tokens, choice = run(batch)
    tokens, choice = np.asarray(tokens, np.float64), np.asarray(choice, np.float64)
    minus_log = lambda logits, target: np.log(np.exp(logits).sum()) - logits[target]
    places, targets, weights = (np.asarray(corrupted[n]) for n in ("target_positions", "targets", "target_weights"))
    wanted = sum(w * minus_log(tokens[row, places[row, i]], targets[row, i]) for (row, i), w in np.ndenumerate(weights))
    pairs = sum(minus_log(choice[row], batch["pair_label"][row]) for row in range(8))  # the last row is padding
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(metrics["pair_loss"], pairs / 8, rtol=1e-5)
    np.testing.assert_allclose(total, wanted + 0.5 * pairs / 8, rtol=1e-5)
    right = (choice.argmax(1) == batch["pair_label"])[:8].mean()
    np.testing.assert_allclose(metrics["pair_accuracy"], right, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 0.1, 1.0, 40.0])
def test_weights_become_shares_whatever_their_total(scale):
    weights = np.float32(scale) * np.random.default_rng(0).uniform(size=(3, 7)).astype(np.float32)
    np.testing.assert_allclose(normalized(weights), weights / weights.astype(np.float64).sum(), rtol=1e-5)
    assert not np.asarray(normalized(np.zeros((3, 7), np.float32))).any()

"""The span boundary objective against NumPy in float64, from the encoder's outputs on."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.special
from test_masking_statistics import words_batch
from test_mlm import MODEL, VOCABULARY

from bert_jax.modeling import bert
from bert_jax.objectives import span_boundary
from configuration.variants import ConfigError, use

LONGEST = 3
PLAIN = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0, max_length=64)
MODELS = {"tied": PLAIN, "factorised": dataclasses.replace(PLAIN, embedding_width=7)}


def spans_of(out: dict, row: int) -> list[tuple[int, int]]:
    """First and last place of each run of predicted tokens."""
    places = np.sort(out["target_positions"][row][out["target_weights"][row] > 0])
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []
    return [(int(run[0]), int(run[-1])) for run in runs]


def norm(x: np.ndarray, params: dict) -> np.ndarray:
    x = x - x.mean()
    return x / np.sqrt((x**2).mean() + PLAIN.norm_epsilon) * params["scale"] + params["bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * scipy.special.ndtr(x)


@pytest.mark.parametrize("name", MODELS)
def test_loss_against_float64(name):
    model = MODELS[name]
    batch = words_batch(7, 64, most=3)
    objective = span_boundary.build(model, VOCABULARY, mask_rate=0.3, longest=LONGEST, boundary_weight=0.5)

    @jax.jit
    def run(batch):
        params = bert.init(model, jax.random.key(3), span_boundary.parts(model, longest=LONGEST))
        noise = lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape)
        params |= {"span_boundary": jax.tree.map(noise, params["span_boundary"])}
        out = objective.corrupt(batch, jax.random.key(4))
        alone = span_boundary.build(model, VOCABULARY, mask_rate=0.3, longest=LONGEST, boundary_weight=0.0)
        losses = [each.loss(params, (), out, None) for each in (objective, alone)]
        return params, out, losses, bert.encode(model, params, out)

    params, out, ((total, metrics), (tokens_only, _)), hidden = jax.device_get(run(batch))
    params, hidden = jax.tree.map(np.float64, params), np.float64(hidden)
    head, words = params["span_boundary"], params["embeddings"]["word"]["embedding"][:101]
    text, losses, right = (batch["segments"] > 0) & (batch["tokens"] > 4), [], []
    for row in range(7):
        for first, last in spans_of(out, row):
            if not (text[row, first - 1] and text[row, last + 1]):
                continue
            for place in range(first, min(last + 1, first + LONGEST)):
                x = [hidden[row, first - 1], hidden[row, last + 1], head["positions"][place - first]]
                x = np.concatenate(x) @ head["first"]["kernel"] + head["first"]["bias"]
                x = norm(gelu(x), head["first_norm"]) @ head["second"]["kernel"] + head["second"]["bias"]
                logits = norm(gelu(x), head["second_norm"]) @ words.T + head["bias"][:101]
                target = batch["tokens"][row, place]
                losses.append(scipy.special.logsumexp(logits) - logits[target])
                right.append(logits.argmax() == target)
    assert 10 < len(losses) < (out["target_weights"] > 0).sum()
    np.testing.assert_allclose(metrics["boundary_loss"], np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["boundary_accuracy"], np.mean(right), rtol=1e-5)
    np.testing.assert_allclose(total, tokens_only + 0.5 * np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(out["boundary_weights"].sum(), 1, rtol=1e-6)


def test_a_row_of_nothing_but_its_spans_has_no_boundary():
    batch = words_batch(4, 64, most=1)
    objective = span_boundary.build(PLAIN, VOCABULARY, mask_rate=1.0, masking=use("whole_words"))
    out = jax.device_get(jax.jit(objective.corrupt)(batch, jax.random.key(0)))
    assert (out["target_weights"] > 0).sum() == ((batch["segments"] > 0) & (batch["tokens"] > 4)).sum()
    assert not out["boundary_weights"].any()


def test_options_out_of_range():
    with pytest.raises(ConfigError, match=r"config.objective.longest is 0"):
        span_boundary.build(PLAIN, VOCABULARY, longest=0)

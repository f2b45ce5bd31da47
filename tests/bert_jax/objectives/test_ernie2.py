"""ERNIE 2.0's tasks: losses against NumPy in float64 from the encoder's outputs on, labels against loops."""

import collections
import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from test_masking_statistics import words_batch
from test_mlm import MODEL, VOCABULARY

from bert_jax.config import Config, Phase
from bert_jax.modeling import bert
from bert_jax.objectives import parts_of, sentence_reordering, token_document
from configuration.variants import ConfigError, load, use

PLAIN = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0, max_length=64)
PHASE = Phase(steps=1, length=64, batch_size=8, learning_rate=1.0)


def built(name, **options):
    """The objective, parameters with heads that are not small, and its parts."""
    config = Config("x", (PHASE,), model=PLAIN, objective=use(name, **options))
    params = bert.init(PLAIN, jax.random.key(3), parts_of(config))
    noise = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)
    heads = {
        name: jax.tree.map(noise, part) for name, part in params.items() if name.endswith("head") or name == "pooler"
    }
    return load("bert_jax.objectives", config.objective)(PLAIN, VOCABULARY), params | heads


def log_softmax(hidden, head):
    return scipy.special.log_softmax(
        np.float64(hidden) @ np.float64(head["kernel"]) + np.float64(head["bias"]), axis=-1
    )


def pooled(first, params):
    pooler = jax.tree.map(np.float64, params["pooler"])
    return np.tanh(np.float64(first) @ pooler["kernel"] + pooler["bias"])


def sentences_batch(rows: int, seed: int = 0, documents: int = 1) -> dict[str, np.ndarray]:
    """Rows of `documents` texts, all their tokens different from each other, with starts of sentences."""
    batch = words_batch(rows, 64, most=2, seed=seed, documents=documents)
    rng = np.random.default_rng(seed)
    text = (batch["segments"] > 0) & (batch["tokens"] > 4)
    unique = np.broadcast_to(np.arange(5, 69), text.shape)
    return batch | {
        "tokens": np.where(text, unique, batch["tokens"]).astype(np.int32),
        "sentence_starts": (rng.random(text.shape) < 0.12) | ~text,
        "capital_letters": np.where(batch["word_starts"], rng.integers(0, 3, text.shape), 0).astype(np.uint8),
        "distance_label": rng.integers(0, 3, rows).astype(np.int32),
    }


# ------------------------------------------------------------------------------------------------------------- capitals


def test_capitals_loss_and_labels():
    objective, params = built("capital_prediction", mask_rate=0.3)
    batch = sentences_batch(9)
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    loss, metrics = objective.loss(params, (), out, None)
    hidden = np.asarray(bert.encode(PLAIN, params, out))
    losses, right = [], []
    for row, slot in itertools.product(range(9), range(out["target_positions"].shape[1])):
        place = out["target_positions"][row, slot]
        label = batch["capital_letters"][row, place]
        if out["target_weights"][row, slot] > 0:
            assert label > 0
            assert out["tokens"][row, place] == VOCABULARY.mask
            log_p = log_softmax(hidden[row, place], params["capital_head"])
            losses.append(-log_p[label - 1])
            right.append(log_p.argmax() == label - 1)
    assert len(losses) > 20
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(right), rtol=1e-5)
    np.testing.assert_allclose(out["target_weights"].sum(), 1, rtol=1e-6)
    masked = (out["tokens"] == VOCABULARY.mask).sum()
    assert len(losses) < masked  # words of neither are hidden too, but not asked for


# ------------------------------------------------------------------------------------------------------ token, document


def test_token_document_loss_and_labels():
    objective, params = built("token_document")
    batch = words_batch(6, 64, most=1, seed=4)
    batch["tokens"] = np.where(batch["tokens"] > 4, 5 + batch["tokens"] % 17, batch["tokens"])
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    loss, metrics = objective.loss(params, (), out, None)
    hidden = np.asarray(bert.encode(PLAIN, params, out))
    losses, labels = [], []
    for row in range(6):
        for document in set(batch["segments"][row]) - {0}:
            text = np.flatnonzero((batch["segments"][row] == document) & (batch["tokens"][row] > 4))
            middle = (len(text) + 1) // 2
            halves = batch["tokens"][row, text[:middle]], batch["tokens"][row, text[middle:]]
            segments = [set(out["segments"][row, part]) for part in (text[:middle], text[middle:])]
            assert len(segments[0]) == len(segments[1]) == 1
            assert segments[0] != segments[1]
            for number, place in enumerate(text):
                label = batch["tokens"][row, place] in halves[number < middle]
                assert out["stands_elsewhere"][row, place] == label
                losses.append(-log_softmax(hidden[row, place], params["document_head"])[int(label)])
                labels.append(label)
    assert 0.2 < np.mean(labels) < 0.95
    np.testing.assert_allclose(loss, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["elsewhere"], np.mean(labels), rtol=1e-5)


def test_a_half_does_not_see_the_other():
    objective, params = built("token_document")
    batch = sentences_batch(2)
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    before = np.asarray(bert.encode(PLAIN, params, out))
    first = out["segments"][0] == out["segments"][0, 1]
    changed = out | {"tokens": np.where(~first & (out["tokens"] > 4), 99, out["tokens"])}
    after = np.asarray(bert.encode(PLAIN, params, changed))
    np.testing.assert_array_equal(before[0, first], after[0, first])
    assert (before[0, ~first] != after[0, ~first]).any()
    with pytest.raises(ConfigError, match=r"config.model.isolate_documents=true"):
        token_document.build(dataclasses.replace(PLAIN, isolate_documents=False), VOCABULARY)


def test_both_texts_of_a_pair_have_halves():
    batch = sentences_batch(3)
    batch["token_types"] = ((batch["segments"] > 0) & (np.arange(64) >= 30)).astype(np.int32)
    objective, _ = built("token_document")
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    assert all(len(set(row) - {0}) == 4 for row in out["segments"])


# -------------------------------------------------------------------------------------------------- sentence reordering


@pytest.mark.parametrize("most", [2, 3, 4])
def test_moved_parts_go_back_by_their_label(most):
    """Undone by the order that the label names, the sentences stand as they did; nothing else moves."""
    objective, _ = built("sentence_reordering", most=most)
    batch = sentences_batch(400, documents=2)
    out = jax.device_get(jax.jit(objective.corrupt)(batch, jax.random.key(0)))
    orders = [order for n in range(1, most + 1) for order in itertools.permutations(range(n))]
    kinds = collections.Counter()
    for row in range(400):
        text = (batch["segments"][row] == 1) & (batch["tokens"][row] > 4)
        np.testing.assert_array_equal(out["tokens"][row][~text], batch["tokens"][row][~text])
        old, new = batch["tokens"][row][text], out["tokens"][row][text]
        starts = batch["sentence_starts"][row][text]
        starts[0] = True
        order = orders[out["order"][row]]
        assert len(order) <= starts.sum()
        breaks = [0, *(np.flatnonzero(np.diff(new) != 1) + 1), len(new)]
        pieces = [new[a:b].tolist() for a, b in itertools.pairwise(breaks)]
        assert len(pieces) <= len(order)
        assert all(starts[np.searchsorted(old, piece[0])] for piece in pieces)
        assert sorted(new) == old.tolist()
        if len(pieces) == len(order):  # no two parts stand one after the other as before
            by_place = sorted(range(len(pieces)), key=lambda n: pieces[n][0])
            assert tuple(by_place) == order
            kinds[order] += 1
    assert len(kinds) > 3 if most > 2 else len(kinds) == 2


def test_orders_are_as_likely_by_their_number_of_parts():
    objective, _ = built("sentence_reordering")
    batch = sentences_batch(1)
    batch = {name: np.repeat(values, 30_000, axis=0) for name, values in batch.items()}
    batch["sentence_starts"][:] |= np.arange(64) % 9 == 0
    out = jax.device_get(jax.jit(objective.corrupt)(batch, jax.random.key(1)))
    shares = [1 / 3 / math.factorial(n) for n in (1, 2, 3) for _ in range(math.factorial(n))]
    counts = np.bincount(out["order"], minlength=9)
    assert scipy.stats.chisquare(counts, np.array(shares) * 30_000).pvalue > 1e-4


def test_cuts_are_as_likely_at_each_start():
    starts = np.zeros((30_000, 40), bool)
    starts[:, [3, 8, 9, 20, 31]] = True
    cuts = jax.jit(sentence_reordering.cut)(starts, jnp.full(30_000, 3), jax.random.key(0))
    places = np.diff(np.asarray(cuts), axis=1, prepend=0) > 0
    assert (places.sum(1) == 2).all()
    counts = places.sum(0)[[8, 9, 20, 31]]
    assert counts.sum() == 60_000
    assert scipy.stats.chisquare(counts).pvalue > 1e-4


def test_reordering_loss():
    objective, params = built("sentence_reordering")
    batch = sentences_batch(9)
    batch["sentence_starts"][4] = False  # a single sentence: nothing to tell
    out = jax.device_get(objective.corrupt(batch, jax.random.key(2)))
    loss, metrics = objective.loss(params, (), out, None)
    log_p = log_softmax(pooled(np.asarray(bert.encode(PLAIN, params, out))[:, 0], params), params["order_head"])
    assert log_p.shape == (9, 9)
    judged = [row for row in range(9) if row != 4]
    np.testing.assert_allclose(loss, -log_p[judged, out["order"][judged]].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (log_p.argmax(1) == out["order"])[judged].mean(), rtol=1e-5)
    with pytest.raises(ConfigError, match=r"config.objective.most is 1"):
        sentence_reordering.build(PLAIN, VOCABULARY, most=1)


# ---------------------------------------------------------------------------------------------------- sentence distance


def test_distance_loss():
    objective, params = built("sentence_distance")
    batch = sentences_batch(7)
    batch["segments"][6] = 0  # padding
    out = jax.device_get(objective.corrupt(batch, jax.random.key(0)))
    loss, metrics = objective.loss(params, (), out, None)
    log_p = log_softmax(pooled(np.asarray(bert.encode(PLAIN, params, out))[:, 0], params), params["distance_head"])[:6]
    labels = batch["distance_label"][:6]
    np.testing.assert_allclose(loss, -log_p[np.arange(6), labels].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (log_p.argmax(1) == labels).mean(), rtol=1e-5)


NAMES = ("capital_prediction", "token_document", "sentence_reordering", "sentence_distance")


@pytest.mark.parametrize("name", NAMES)
def test_draws_depend_on_the_row_and_not_on_its_neighbours(name):
    objective, _ = built(name)
    batch = sentences_batch(16)
    whole = objective.corrupt(batch, jax.random.key(0))
    again = objective.corrupt(batch, jax.random.key(0))
    for field in whole:
        np.testing.assert_array_equal(whole[field], again[field])
    other = objective.corrupt(
        batch | {"tokens": np.where(np.arange(16)[:, None] < 8, batch["tokens"], 0)}, jax.random.key(0)
    )
    np.testing.assert_array_equal(np.asarray(whole["tokens"])[:8], np.asarray(other["tokens"])[:8])

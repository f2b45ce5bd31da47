"""Replaced names: which are, by what, and the loss against NumPy in float64 from the encoder's outputs on."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats
from test_masking_statistics import words_batch
from test_mlm import MODEL, VOCABULARY

from bert_jax.config import Config, Mesh, Phase
from bert_jax.modeling import bert
from bert_jax.objectives import entity_replacement, parts_of
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, load, use

PLAIN = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0, max_length=64)
OBJECTIVE = use("entity_replacement", replaced=0.4, mask_rate=0.2, entity_weight=3.0)


def named_batch(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows with names of 1 to 3 tokens and two kinds, in a fifth of the places or so."""
    batch, rng = words_batch(rows, 64, most=2, seed=seed), np.random.default_rng(seed)
    labels = np.zeros((rows, 64), np.uint8)
    text = (batch["segments"] > 0) & (batch["tokens"] > 4)
    for row in range(rows):
        place = 0
        while place < 60:
            size, kind = rng.integers(1, 4), rng.integers(1, 3)
            if text[row, place : place + size].all() and rng.random() < 0.15:
                labels[row, place : place + size] = 2 * kind
                labels[row, place] = 2 * kind - 1
                place += size - 1
            place += 1
    return batch | {"entities": labels}


def names_in(batch, row) -> list[tuple[int, int, int]]:
    """First token, size and kind of each name."""
    labels = batch["entities"][row]
    found = []
    for place in np.flatnonzero(labels % 2 == 1):
        size = 1
        while place + size < 64 and labels[place + size] > 0 and labels[place + size] % 2 == 0:
            size += 1
        found.append((int(place), size, int(labels[place] + 1) // 2))
    return found


def built():
    config = Config("x", (Phase(1, 64, 8, 1.0),), model=PLAIN, objective=OBJECTIVE)
    params = bert.init(PLAIN, jax.random.key(3), parts_of(config))
    noise = lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape)
    params |= {"entity_head": jax.tree.map(noise, params["entity_head"])}
    return load("bert_jax.objectives", OBJECTIVE)(PLAIN, VOCABULARY), params


def judged(out, row) -> dict[int, int]:
    """Whether each name that is asked for was replaced, by its first token."""
    used = out["entity_weights"][row] > 0
    return dict(zip((out["before"][row][used] + 1).tolist(), out["replaced"][row][used].tolist(), strict=True))


def test_a_name_is_replaced_by_another_of_its_kind_and_size_and_nothing_else_is():
    batch, (objective, _) = named_batch(64), built()
    out = jax.device_get(jax.jit(objective.corrupt)(batch, jax.random.key(0)))
    pool: dict[tuple[int, int], set] = {}
    for row in range(64):
        for place, size, kind in names_in(batch, row):
            pool.setdefault((size, kind), set()).add(tuple(batch["tokens"][row, place : place + size]))
    asked = swapped = 0
    for row in range(64):
        was, changed = judged(out, row), np.zeros(64, bool)
        for place, size, kind in names_in(batch, row):
            old, new = (tuple(each["tokens"][row, place : place + size]) for each in (batch, out))
            assert (new != old) == bool(was.get(place, 0))
            assert new in pool[size, kind]
            changed[place : place + size] = True
            asked, swapped = asked + (place in was), swapped + was.get(place, 0)
        masked = out["target_positions"][row][out["target_weights"][row] > 0]
        assert not changed[masked].any()
        still = ~changed & ~np.isin(np.arange(64), masked)
        np.testing.assert_array_equal(out["tokens"][row][still], batch["tokens"][row][still])
        in_order = [was[place] for place in sorted(was)]
        assert not any(a and b for a, b in itertools.pairwise(in_order))
        np.testing.assert_array_equal(out["segments"][row], batch["segments"][row])
    assert asked > 300
    assert swapped / asked == pytest.approx(0.4, abs=0.05)


def test_neither_kind_nor_size_tells_whether_a_name_was_replaced():
    """Also where names of a kind and size are rare."""
    batch, (objective, _) = named_batch(40), built()
    corrupt = jax.jit(objective.corrupt)
    counts = np.zeros((2, 6))
    for key in range(60):
        out = jax.device_get(corrupt(batch, jax.random.key(key)))
        for row in range(40):
            was = judged(out, row)
            for place, size, kind in names_in(batch, row):
                if place in was:
                    counts[was[place], 3 * (kind - 1) + size - 1] += 1
    assert counts.sum() > 10_000
    assert scipy.stats.chi2_contingency(counts).pvalue > 1e-4


def test_other_names_are_as_likely():
    batch = {name: np.repeat(values, 10, axis=0) for name, values in words_batch(1, 64, most=1, documents=1).items()}
    batch["tokens"] = np.array(batch["tokens"])
    batch["tokens"][:, 20] = 50 + np.arange(10)
    labels = np.zeros((10, 64), np.uint8)
    labels[:, 20] = 1
    others = jax.jit(lambda key: _others(batch["tokens"], labels, key))
    counts = np.zeros(10)
    for key in range(400):
        found = np.asarray(others(jax.random.key(key)))
        assert (found != 50 + np.arange(10)).all()
        assert sorted(found) == list(range(50, 60))
        counts[found[0] - 50] += 1
    assert scipy.stats.chisquare(counts[1:]).pvalue > 1e-4


def _others(tokens, labels, key):
    names = entity_replacement.names_of(tokens, labels, key)
    others, _ = entity_replacement.exchange(names, entity_replacement.random_at(key, names.starts))
    return others[:, 0, 0]


def test_loss_against_float64():
    batch, (objective, params) = named_batch(8, seed=2), built()
    out = jax.device_get(objective.corrupt(batch, jax.random.key(1)))
    total, metrics = jax.device_get(objective.loss(params, (), out, None))
    hidden, head = np.float64(bert.encode(PLAIN, params, out)), jax.tree.map(np.float64, params["entity_head"])
    losses, right = [], []
    for row in range(8):
        was = judged(out, row)
        for place, size, _ in names_in(batch, row):
            if place in was:
                x = np.concatenate([hidden[row, place - 1], hidden[row, place + size]])
                p = scipy.special.expit(x @ head["kernel"][:, 0] + head["bias"][0])
                losses.append(-np.log(p if was[place] else 1 - p))
                right.append((p > 0.5) == was[place])
    assert len(losses) > 20
    np.testing.assert_allclose(metrics["entity_loss"], np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["entity_accuracy"], np.mean(right), rtol=1e-5)
    np.testing.assert_allclose(total, metrics["mlm_loss"] + 3 * np.mean(losses), rtol=1e-5)


def test_draws_are_the_same_on_a_mesh():
    batch, (objective, _) = named_batch(16), built()
    mesh = sharding.make_mesh(Mesh(1, 2, 2, 1), jax.devices()[:4])
    split = jax.jit(sharding.on_mesh(mesh, objective.corrupt))(sharding.put_batch(batch, mesh), jax.random.key(0))
    for name, values in jax.jit(objective.corrupt)(batch, jax.random.key(0)).items():
        np.testing.assert_array_equal(jax.device_get(split[name]), values, err_msg=name)


def test_a_batch_without_names_has_no_names_loss():
    batch, (objective, params) = named_batch(4) | {"entities": np.zeros((4, 64), np.uint8)}, built()
    out = objective.corrupt(batch, jax.random.key(0))
    _, metrics = objective.loss(params, (), out, None)
    assert metrics["entity_loss"] == 0
    assert not out["replaced"].any()
    with pytest.raises(ConfigError, match=r"config.objective.replaced is 0.7; it must be a share above 0"):
        entity_replacement.build(PLAIN, VOCABULARY, replaced=0.7)

"""Biases by bucket of distances against the formula, and in the encoder."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling import bert
from bert_jax.modeling.positions.bucketed import bucket_of
from configuration.variants import ConfigError, use

MODEL = Model(vocab_size=101, layers=2, width=24, heads=3, mlp_width=20, max_length=37, positions=use("bucketed"))


def test_buckets_are_those_of_the_formula():
    def bucket(distance: int) -> int:
        """T5's, of 32 buckets up to 128 tokens."""
        apart = abs(distance)
        wide = 8 + math.floor(math.log(max(apart, 8) / 8) / math.log(16) * 8 + 1e-6)
        return 16 * (distance > 0) + (apart if apart < 8 else min(15, wide))

    distances = np.arange(-200, 201)
    found = bucket_of(distances, 32, 128)
    assert found.tolist() == [bucket(int(d)) for d in distances]
    assert set(found) == set(range(32)) - {16}  # of distance 0 to the right there is none


@pytest.mark.torch
def test_buckets_are_those_of_transformers():
    import torch
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = np.arange(-600, 601)
    theirs = MPNetEncoder.relative_position_bucket(torch.from_numpy(distances))
    np.testing.assert_array_equal(bucket_of(distances, 32, 128), theirs)


def test_a_bias_leads_a_head_to_its_distance():
    """With a large bias at one token to the left, each token sees its left neighbour alone."""
    params = bert.init(MODEL, jax.random.key(0))
    buckets = np.zeros((32, 3), np.float32)
    buckets[1] = 1000.0
    params["embeddings"]["position"]["buckets"] = buckets
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(5, 101, (1, 37)),
        "segments": np.ones((1, 37), np.int32),
        "positions": np.arange(37)[None],
        "token_types": np.zeros((1, 37), np.int32),
    }
    encode = jax.jit(functools.partial(bert.encode, dataclasses.replace(MODEL, layers=1)))
    params["layers"] = jax.tree.map(lambda x: x[:1], params["layers"])
    changed = batch["tokens"].copy()
    changed[0, 10] = 7
    moved = (encode(params, batch) != encode(params, batch | {"tokens": changed})).any(-1)[0]
    assert np.flatnonzero(moved).tolist() == [0, 10, 11]  # the first token has no left neighbour, and sees all


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": 30}, "buckets is 30; it must be a multiple of 4"),
        ({"max_distance": 8}, "max_distance is 8; .* above"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        bert.abstract_params(dataclasses.replace(MODEL, positions=use("bucketed", **options)))

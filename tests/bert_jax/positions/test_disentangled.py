"""Disentangled attention: its buckets, documents in a row, left and right; `encoder_reference` has its values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling import bert
from bert_jax.modeling.choice import choose, request_for
from bert_jax.modeling.positions.disentangled import bucket_of, row_of
from configuration.variants import ConfigError, use

SCHEME = use("disentangled", buckets=6, max_distance=20)
MODEL = Model(vocab_size=101, layers=2, width=24, heads=3, mlp_width=20, max_length=37, positions=SCHEME)


def test_buckets_widen_and_end_at_the_longest_distance():
    assert bucket_of(np.arange(9), 8, 33).tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5]  # 4 · 2^k from 4 on
    assert bucket_of(np.array([-8, -9, 16, 17, 32]), 8, 33).tolist() == [-5, -6, 6, 7, 7]
    rows = row_of(np.arange(-600, 601), 256, 512)
    assert (np.diff(rows) >= 0).all()
    assert np.unique(rows).tolist() == list(range(512))
    assert np.flatnonzero(rows == 0).max() == 600 - 512  # all further left share it
    assert np.flatnonzero(rows == 511).min() < 600 + 511


@pytest.mark.torch
@pytest.mark.parametrize("buckets", [0, 2, 3, 6, 7, 32, 255, 256])
def test_rows_are_those_of_transformers(buckets):
    import torch
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = np.arange(-1100, 1101)
    for max_distance in (*range(buckets // 2 + 2, buckets // 2 + 80), 512, 1024):
        side = buckets or max_distance
        theirs = torch.from_numpy(distances)
        if buckets:
            theirs = make_log_bucket_position(theirs, buckets, max_distance).long()
        ours = row_of(distances, buckets, max_distance)
        np.testing.assert_array_equal(ours, torch.clamp(theirs + side, 0, 2 * side - 1))


def batch_of(tokens: np.ndarray, lengths: list[int]) -> dict[str, np.ndarray]:
    """One row of documents of these lengths."""
    return {
        "tokens": tokens[None],
        "segments": np.repeat(np.arange(len(lengths)) + 1, lengths)[None],
        "positions": np.concatenate([np.arange(length) for length in lengths])[None],
        "token_types": np.zeros((1, len(tokens)), np.int32),
    }


def test_a_document_in_a_row_is_as_alone():
    params = bert.init(dataclasses.replace(MODEL, init_std=0.5), jax.random.key(0))
    encode = jax.jit(functools.partial(bert.encode, MODEL))
    tokens = np.random.default_rng(0).integers(5, 101, 37)
    packed = encode(params, batch_of(tokens, [5, 29, 3]))
    alone = encode(params, batch_of(tokens[5:34], [29]))
    np.testing.assert_allclose(packed[:, 5:34], alone, rtol=0, atol=2e-6 * float(jnp.abs(alone).max()))


@pytest.mark.parametrize("term", ["content_to_position", "position_to_content"])
def test_each_term_tells_left_from_right(term):
    """Without the other: reversing a row is more than reversing what comes out."""
    terms = {"content_to_position": False, "position_to_content": False} | {term: True}
    scheme = use("disentangled", **SCHEME.options, **terms)
    model = dataclasses.replace(MODEL, positions=scheme, init_std=0.5)
    params = bert.init(model, jax.random.key(0))
    tokens = np.random.default_rng(0).integers(5, 101, 37)
    encode = lambda params, tokens: bert.encode(model, params, batch_of(tokens, [37]))[0]
    forward, backward = encode(params, tokens), encode(params, tokens[::-1])[::-1]
    assert jnp.abs(forward - backward).max() > 0.05 * jnp.abs(forward).max()
    params["embeddings"]["position"]["embedding"] *= 0  # of no distance
    same, reversed_row = encode(params, tokens), encode(params, tokens[::-1])[::-1]
    np.testing.assert_allclose(same, reversed_row, atol=1e-4)


def test_the_reference_kernel_alone_takes_it():
    request = request_for(MODEL, 37, training=True)
    assert choose(MODEL, request).name == "xla"
    for platform, kernel in (("tpu", "splash"), ("gpu", "cudnn")):
        model = dataclasses.replace(MODEL, kernel=use(kernel), dtype="bfloat16", width=24 * 8, attention_dropout=0.0)
        asked = dataclasses.replace(request_for(model, 38, training=False), platform=platform)
        with pytest.raises(ConfigError, match=f"{kernel} takes no products by distance, which these positions need"):
            choose(model, asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": 1}, "buckets is 1; it must be 0 .* or at least 2"),
        ({"buckets": 40, "max_distance": 21}, "max_distance is 21; it must be above 21, half of buckets=40"),
        ({"buckets": 0, "max_distance": 0}, "max_distance is 0; it must be at least 1"),
        ({"content_to_position": False, "position_to_content": False}, "content_to_position is False; .* True without"),
    ],
    ids=str,
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=f"config.model.positions.{message}"):
        bert.abstract_params(dataclasses.replace(MODEL, positions=use("disentangled", **options)))

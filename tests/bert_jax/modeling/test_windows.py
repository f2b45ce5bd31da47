"""Layers that attend within a window: what reaches which token, compiled size, gradients, kernels, refusals."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_bert import close, drop_key_bias, encoder, make_batch
from test_variants_of_the_encoder import random_params, unshared

from bert_jax.config import Model
from bert_jax.modeling import bert
from bert_jax.modeling.choice import choose, request_for
from configuration.variants import ConfigError, use

BASE = Model(vocab_size=101, layers=4, width=24, heads=3, mlp_width=40, max_length=300)
LOCAL = dataclasses.replace(BASE, window=3, global_every=0, positions=use("rotary"))


def test_what_is_further_away_than_all_windows_together_moves_no_bit() -> None:
    params, encode = random_params(LOCAL), jax.jit(functools.partial(bert.encode, LOCAL))
    batch = make_batch() | {"segments": np.ones((2, 37), np.int32)}
    changed = batch["tokens"].copy()
    changed[:, 0] = 7
    before, after = encode(params, batch), encode(params, batch | {"tokens": changed})
    reach = 3 * 4  # of four layers
    np.testing.assert_array_equal(before[:, reach + 1 :], after[:, reach + 1 :])
    assert (before[:, reach] != after[:, reach]).any()


@pytest.mark.parametrize("positions", [use("absolute"), use("functional_relative", max_distance=5)], ids=str)
def test_documents_are_isolated_in_local_and_global_layers(positions) -> None:
    params, encode = encoder(dataclasses.replace(BASE, window=4, global_every=2, positions=positions))
    batch = make_batch()
    changed = batch["tokens"].copy()
    changed[:, 12] = 7
    before, after = encode(params, batch), encode(params, batch | {"tokens": changed})
    others = batch["segments"] != 2
    np.testing.assert_array_equal(before[others], after[others])
    assert (before[~others] != after[~others]).any()


def test_a_window_that_leaves_nothing_out_is_none() -> None:
    params, encode = encoder(BASE)
    wide = functools.partial(bert.encode, dataclasses.replace(BASE, window=36, global_every=3))
    np.testing.assert_array_equal(encode(params, make_batch()), jax.jit(wide)(params, make_batch()))


@pytest.mark.parametrize("change", [{"global_every": 3}, {"global_every": 0}], ids=str)
def test_the_kernel_of_blocks_serves_long_rows_and_says_the_same(change: dict) -> None:
    model = dataclasses.replace(BASE, window=16, positions=use("rotary", local_base=500.0), **change)
    request = request_for(model, 300, training=False, local=True)
    assert choose(model, request).name == "blocks"
    rng = np.random.default_rng(0)
    batch = {
        "tokens": rng.integers(5, 101, (2, 300)),
        "segments": np.repeat([[1, 2], [1, 0]], [170, 130], axis=1).astype(np.int32),
        "positions": np.tile(np.arange(300), (2, 1)),
        "token_types": np.zeros((2, 300), np.int32),
    }
    params = random_params(model)
    places = rng.integers(0, 300, (2, 20))
    dense = jax.jit(functools.partial(bert.encode, dataclasses.replace(model, kernel=use("xla"))))(params, batch)
    encode = jax.jit(functools.partial(bert.encode, model))
    close(encode(params, batch), dense)
    close(encode(params, batch, places=places), jnp.take_along_axis(dense, places[..., None], axis=1))


@pytest.mark.parametrize("change", [{"unroll": 6}, {"remat": "dots"}, {"remat": "full"}], ids=str)
def test_how_layers_are_run_changes_neither_output_nor_gradient(change: dict) -> None:
    model = dataclasses.replace(BASE, layers=5, window=4, global_every=3)  # a cycle, one layer besides, and the last
    params, batch, key = random_params(model), make_batch(), jax.random.key(5)
    places = np.array([[36, 0, 11], [3, 5, 20]])
    value = lambda m, p: jnp.sin(bert.encode(m, p, batch, key, places)).sum()
    alike = (model, dataclasses.replace(model, **change))
    runs = [jax.jit(jax.value_and_grad(functools.partial(value, m)))(params) for m in alike]
    jax.tree.map(close, *((loss, drop_key_bias(gradients)) for loss, gradients in runs))


def test_shared_weights_of_groups_that_start_anywhere_in_the_pattern() -> None:
    model = dataclasses.replace(BASE, layers=8, window=4, global_every=3, sharing="attention", groups=4)
    params, batch = random_params(model), make_batch()
    plain, own = unshared(model, params)
    close(jax.jit(functools.partial(bert.encode, model))(params, batch), bert.encode(plain, own, batch))


@pytest.mark.parametrize("change", [{}, {"sharing": "all", "groups": 2}], ids=str)
def test_depth_costs_no_instruction(change: dict) -> None:
    def instructions(layers: int) -> int:
        model = dataclasses.replace(BASE, window=4, global_every=3, layers=layers, unroll=1, **change)
        places = jax.ShapeDtypeStruct((2, 5), jnp.int32)
        run = lambda params, batch, places: bert.encode(model, params, batch, places=places)
        return jax.jit(run).lower(bert.abstract_params(model), make_batch(), places).as_text().count("\n")

    assert instructions(36) == instructions(12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": -1}, "config.model.window is -1; it must be between 0"),
        ({"window": 4}, "config.model.global_every is 1; it must be 0 or at least 2 with model.window"),
        ({"global_every": 3}, "config.model.global_every is 3; it must be 1 without model.window"),
    ],
)
def test_refusals(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(BASE, **change)


@pytest.mark.parametrize(
    ("base", "message"), [(0.5, "it must be above 1, or 0"), (9.0, "0 without config.model.window")]
)
def test_a_local_base_is_one_of_local_layers(base: float, message: str) -> None:
    with pytest.raises(ConfigError, match=f"config.model.positions.local_base is {base}; .*{message}"):
        bert.abstract_params(dataclasses.replace(BASE, positions=use("rotary", local_base=base)))

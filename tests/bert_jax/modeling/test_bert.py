"""The promises of the encoder alone: places, isolation, padding, scan, rematerialisation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.analysis.flops import matmul_flops
from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from configuration.variants import Variant, use

MODEL = Model(vocab_size=101, layers=3, width=24, heads=3, mlp_width=40, max_length=37)
SCHEMES = [
    use("absolute"),
    use("rotary"),
    use("functional_relative"),
    use("functional_relative", max_distance=5),
    use("bucketed", buckets=8, max_distance=20),
    use("disentangled", buckets=6, max_distance=20),
]


def make_batch(seed: int = 0) -> dict[str, np.ndarray]:
    """Two rows of three documents each, the second with padding at the end."""
    rng = np.random.default_rng(seed)
    segments = np.repeat([[1, 2, 3], [1, 2, 0]], [10, 15, 12], axis=1).astype(np.int32)
    places = np.concatenate([np.arange(10), np.arange(15), np.arange(12)])
    return {
        "tokens": rng.integers(5, 101, (2, 37)).astype(np.uint16),
        "segments": segments,
        "positions": np.tile(places, (2, 1)).astype(np.int32),
        "token_types": rng.integers(0, 2, (2, 37)).astype(np.int32),
    }


@functools.cache
def encoder(model: Model):
    params = jax.jit(lambda key: bert.init(model, key, heads.parts(model, "mlm_head")))(jax.random.key(0))
    return params, jax.jit(functools.partial(bert.encode, model))


def close(a: jax.Array, b: jax.Array) -> None:
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("positions", SCHEMES, ids=str)
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_hidden_at_places_is_hidden_everywhere_looked_up(positions: Variant, norm: str) -> None:
    params, encode = encoder(dataclasses.replace(MODEL, positions=positions, norm=norm))
    batch = make_batch()
    places = np.random.default_rng(1).integers(0, 37, (2, 7))
    everywhere = encode(params, batch)
    close(encode(params, batch, places=places), jnp.take_along_axis(everywhere, places[..., None], axis=1))


@pytest.mark.parametrize("positions", SCHEMES, ids=str)
def test_most_of_the_last_layer_is_computed_at_the_places_alone(positions: Variant) -> None:
    """Whether or not the kernel takes fewer queries."""
    model = dataclasses.replace(MODEL, positions=positions)
    count = lambda run: matmul_flops(jax.make_jaxpr(run)(bert.abstract_params(model), make_batch()).jaxpr)
    everywhere = count(lambda params, batch: bert.encode(model, params, batch))
    some = count(lambda params, batch: bert.encode(model, params, batch, places=jnp.zeros((2, 7), jnp.int32)))
    output_and_mlp = model.width**2 + 2 * model.width * model.mlp_width
    assert everywhere - some >= 2 * (37 - 7) * 2 * output_and_mlp


@pytest.mark.parametrize("positions", SCHEMES, ids=str)
def test_a_document_sees_no_other_by_one_bit(positions: Variant) -> None:
    params, encode = encoder(dataclasses.replace(MODEL, positions=positions))
    batch = make_batch()
    before = encode(params, batch)
    changed = batch["tokens"].copy()
    changed[:, 12] = 7
    after = encode(params, batch | {"tokens": changed})
    others = batch["segments"] != 2
    np.testing.assert_array_equal(before[others], after[others])
    assert (before[~others] != after[~others]).any()


@pytest.mark.parametrize("isolate", [True, False])
def test_padding_never_leaks(isolate: bool) -> None:
    params, encode = encoder(dataclasses.replace(MODEL, isolate_documents=isolate))
    batch = make_batch()
    before = encode(params, batch)
    changed = batch["tokens"].copy()
    changed[1, 25:] = 99
    after = encode(params, batch | {"tokens": changed})
    text = batch["segments"] > 0
    np.testing.assert_array_equal(before[text], after[text])
    assert jnp.isfinite(after).all()


def test_without_isolation_documents_see_each_other() -> None:
    params, encode = encoder(dataclasses.replace(MODEL, isolate_documents=False))
    batch = make_batch()
    changed = batch["tokens"].copy()
    changed[:, 12] = 7
    first = batch["segments"] == 1
    assert (encode(params, batch)[first] != encode(params, batch | {"tokens": changed})[first]).any()


def drop_key_bias(gradients: dict) -> dict:
    """Without the gradient of the keys' bias, which adds the same to all scores of a query: it is rounding alone."""
    key = gradients["layers"]["attention"]["key"]
    assert jnp.abs(key["bias"]).max() < 1e-6 * jnp.abs(key["kernel"]).max()
    del key["bias"]
    return gradients


FULL = pytest.param({"remat": "full"}, marks=pytest.mark.slow)


@pytest.mark.parametrize("change", [{"unroll": 3}, {"remat": "dots"}, FULL], ids=str)
def test_how_layers_are_run_changes_neither_output_nor_gradient(change: dict) -> None:
    model = dataclasses.replace(MODEL, **change)
    params, _ = encoder(MODEL)
    batch, key = make_batch(), jax.random.key(5)

    def value(m: Model, p: dict) -> jax.Array:
        return jnp.sin(bert.encode(m, p, batch, key)).sum()

    runs = [jax.jit(jax.value_and_grad(functools.partial(value, m)))(params) for m in (MODEL, model)]
    jax.tree.map(close, *((loss, drop_key_bias(gradients)) for loss, gradients in runs))


def test_what_is_computed_again() -> None:
    """With "dots" the scores and what attention makes of them, with "full" the dense layers too."""

    def products(remat: str) -> int:
        model = dataclasses.replace(MODEL, remat=remat, unroll=1)
        loss = lambda p, batch: jnp.sin(bert.encode(model, p, batch)).sum()
        return jax.jit(jax.grad(loss)).lower(encoder(MODEL)[0], make_batch()).compile().as_text().count(" dot(")

    assert products("none") < products("dots") < products("full")


def test_bfloat16_keeps_weights_and_sums_in_float32() -> None:
    params, encode = encoder(dataclasses.replace(MODEL, dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    hidden = encode(params, make_batch())
    assert hidden.dtype == jnp.bfloat16
    exact = encoder(MODEL)[1](params, make_batch())
    assert float(jnp.abs(hidden - exact).max()) < 0.1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 3),
        ({"layers": 12}, 12),
        ({"layers": 13}, 1),
        ({"layers": 13, "unroll": 13}, 13),
        ({"unroll": 2}, 2),
        ({"remat": "full"}, 1),
    ],
    ids=str,
)
def test_layers_side_by_side_on_a_cpu(change: dict, expected: int) -> None:
    model = dataclasses.replace(MODEL, **change)
    assert bert.side_by_side(model) == expected
    assert bert.side_by_side(model, training=False) == (model.unroll or 1)


def test_compiled_size_does_not_grow_with_depth() -> None:
    def instructions(layers: int) -> int:
        model = dataclasses.replace(MODEL, layers=layers, unroll=1)
        lowered = jax.jit(functools.partial(bert.encode, model)).lower(bert.abstract_params(model), make_batch())
        return lowered.as_text().count("\n")

    assert instructions(24) == instructions(3)


def test_the_loop_over_layers_takes_the_stacked_weights_as_they_are() -> None:
    """Reshaped to [layers, 1, …] they would be copied for each batch, by XLA's CPU compiler of today."""
    model = dataclasses.replace(MODEL, layers=5)
    params, encode = encoder(model)
    program = encode.lower(params, make_batch()).as_text()
    assert params["layers"]["mlp"]["up"]["kernel"].shape == (5, 24, 40)
    assert "tensor<5x24x40xf32>" in program
    assert "tensor<5x1x24x40xf32>" not in program


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_an_encoder_whose_positions_have_no_end_takes_longer_rows(scheme: Variant) -> None:
    """With the same weights, and a row that both take is read alike."""
    model = dataclasses.replace(MODEL, positions=scheme)
    longer = bert.lengthened(model, 64)
    if scheme.name in ("absolute", "bucketed"):  # MPNet has both tables
        assert longer == model
        return
    assert longer.max_length == 64
    assert bert.lengthened(longer, 37) == longer
    params = bert.init(model, jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, bert.init(longer, jax.random.key(0)))
    one, other = (jax.jit(functools.partial(bert.encode, m))(params, make_batch()) for m in (model, longer))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)

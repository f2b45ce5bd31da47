"""Positions, gated units, factorised embeddings, shared layers, windows, no biases: against NumPy in float64."""

import dataclasses
import functools

import encoder_reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_bert import drop_key_bias, make_batch

from bert_jax.analysis import flops
from bert_jax.config import Model
from bert_jax.formats import family
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import mlm_head
from configuration.variants import ConfigError, use

BASE = Model(vocab_size=101, layers=4, width=18, heads=3, mlp_width=20, max_length=37, init_std=0.3)
ROTARY = use("rotary")
BUCKETS = {"buckets": 6, "max_distance": 20}  # the rows of 37 tokens reach both ends of the table
DISENTANGLED = use("disentangled", **BUCKETS)
UNSHARED = use("disentangled", **BUCKETS, share_keys=False, normalised=False)
VARIANTS: list[dict] = [
    {},
    {"norm": "pre", "activation": "gelu_tanh"},
    {"positions": ROTARY, "token_types": 0},
    {"positions": use("rotary", base=160_000.0), "norm": "pre", "gated": True, "biases": False},
    {"gated": True, "activation": "silu"},
    {"embedding_width": 7},
    {"embedding_width": 7, "norm": "pre", "positions": ROTARY, "token_types": 0},
    {"sharing": "all", "embedding_width": 7},
    {"sharing": "all", "groups": 2, "norm": "pre", "gated": True},
    {"sharing": "attention"},
    {"sharing": "attention", "groups": 4, "biases": False},
    {"sharing": "mlp", "groups": 2, "positions": ROTARY},
    {"task_types": 3, "activation": "relu"},
    {"window": 3, "global_every": 3},
    {"window": 5, "global_every": 2, "positions": use("rotary", base=500.0, local_base=20.0), "norm": "pre"},
    {"window": 2, "global_every": 0, "positions": use("rotary", local_base=20.0)},
    {"window": 3, "global_every": 3, "sharing": "all", "groups": 2},  # whose second group starts with a local layer
    {"window": 4, "global_every": 3, "sharing": "attention", "unroll": 3},
    {"window": 4, "global_every": 9},
    {"positions": DISENTANGLED},
    {"positions": UNSHARED, "norm": "pre", "biases": False},
    {"positions": use("disentangled", buckets=7, max_distance=9, content_to_position=False), "embedding_width": 7},
    {"positions": use("disentangled", **BUCKETS, share_keys=False, position_to_content=False), "sharing": "all"},
    {"positions": use("disentangled")},  # of whose 512 rows 73 are of distances that there are
    {"positions": use("disentangled", buckets=0, max_distance=11), "window": 12, "global_every": 2},
]


def random_params(model: Model) -> dict:
    """Every parameter random, norms and biases too; as NumPy float32."""
    rng = np.random.default_rng(0)
    draw = lambda path, x: (path[-1].key == "scale") + rng.normal(0, 0.3, x.shape).astype(np.float32)
    return jax.tree_util.tree_map_with_path(draw, bert.abstract_params(model, heads.parts(model, "mlm_head")))


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_equal_to_the_formulas(change: dict) -> None:
    model = dataclasses.replace(BASE, **change)
    params, batch = random_params(model), make_batch()
    states, logits = encoder_reference.run(model, jax.tree.map(np.float64, params), batch)
    places = np.stack([np.random.default_rng(row).permutation(37) for row in range(2)])  # everywhere, out of order

    @jax.jit
    def run(params: dict, batch: dict) -> tuple[jax.Array, jax.Array]:
        hidden = bert.encode(model, params, batch, places=places)
        return hidden, mlm_head.logits(model, params, hidden)

    for ours, exact in zip(run(params, batch), (states[-1], logits), strict=True):
        exact = np.take_along_axis(exact, places[..., None], 1)
        assert np.abs(ours - exact).max() <= 1e-5 * np.abs(exact).max()


def test_each_token_has_the_vector_of_its_task() -> None:
    model = dataclasses.replace(BASE, task_types=3)
    params, batch = random_params(model), make_batch()
    batch |= {"task_types": np.random.default_rng(1).integers(0, 3, (2, 37))}
    states, _ = encoder_reference.run(model, jax.tree.map(np.float64, params), batch)
    assert np.abs(bert.encode(model, params, batch) - states[-1]).max() <= 1e-5 * np.abs(states[-1]).max()


def unshared(model: Model, params: dict) -> tuple[Model, dict]:
    """The same encoder with weights of its own in each layer."""
    repeat = lambda x: jnp.repeat(x, model.layers // x.shape[0], axis=0)
    return dataclasses.replace(model, sharing="none", groups=1), params | {
        "layers": jax.tree.map(repeat, params["layers"])
    }


@pytest.mark.parametrize(
    ("sharing", "remat"), [("all", "full"), pytest.param("attention", "none", marks=pytest.mark.slow)]
)
def test_a_shared_weight_gets_the_sum_of_its_layers_gradients(sharing: str, remat: str) -> None:
    model = dataclasses.replace(BASE, sharing=sharing, groups=2, remat=remat)
    params, batch, key = random_params(model), make_batch(), jax.random.key(1)
    places = np.array([[36, 0, 11], [3, 5, 20]])

    def gradients(model: Model, params: dict) -> dict:
        loss = lambda p: jnp.sin(bert.encode(model, p, batch, key, places)).sum()
        return drop_key_bias(jax.jit(jax.grad(loss))(params))

    ours, theirs = gradients(model, params), gradients(*unshared(model, params))

    def compare(a: jax.Array, b: jax.Array) -> None:
        b = b if a.shape == b.shape else b.reshape(a.shape[0], -1, *a.shape[1:]).sum(1)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))

    jax.tree.map(compare, ours, theirs)


def sizes_of_disentangled(model: Model) -> tuple[int, int, int]:
    """Rows of the table in a layer's products, the layer's own projections, and parameters of the table."""
    if model.positions.name != "disentangled":
        return 0, 0, 0
    options = family.plain(model.positions)
    rows = 2 * (options["buckets"] or options["max_distance"])
    last, first = (encoder_reference.row_of(d, options["buckets"], options["max_distance"]) for d in (36, -36))
    terms = options["content_to_position"] + options["position_to_content"]
    norm = (1 + model.biases) * options["normalised"]
    return terms * (last + 1 - first), 0 if options["share_keys"] else terms, (rows + norm) * model.width


@pytest.mark.parametrize("change", VARIANTS, ids=str)
def test_axes_counts_and_operations(change: dict) -> None:
    """Each array has an axis name a dimension; counts are those of the formulas."""
    model = dataclasses.replace(BASE, **change)
    head = heads.parts(model, "mlm_head")
    params, axes = bert.abstract_params(model, head), bert.parameter_axes(model, head)
    jax.tree.map(lambda x, axes: None if len(axes) == x.ndim else pytest.fail(str(axes)), params, axes)
    d, f, e, v = model.width, model.mlp_width, model.embedding_width or model.width, model.vocab_size
    bias = int(model.biases)
    norm = lambda size: size + bias * size
    by_distance, further, position = sizes_of_disentangled(model)
    attention = (4 + further) * (d * d + bias * d) + norm(d)
    mlp = (1 + model.gated) * (d * f + bias * f) + f * d + bias * d + norm(d)
    tables = v + model.token_types + model.task_types + (model.max_length if model.positions.name == "absolute" else 0)
    rest = tables * e + (d * e + bias * e + norm(e) + v)
    rest += (e * d + bias * d if model.embedding_width else 0) + norm(d if model.norm == "pre" else e)
    rest += position
    stored = {part: model.groups if model.sharing in (part, "all") else 4 for part in ("attention", "mlp")}
    assert bert.count_parameters(model, head) == rest + stored["attention"] * attention + stored["mlp"] * mlp

    jaxpr = jax.make_jaxpr(functools.partial(bert.encode, model))(bert.abstract_params(model), make_batch())
    tokens = 2 * 37
    layer = 4 * d * d + (2 + model.gated) * d * f + 2 * 37 * d
    turns = 2 * d * model.head_size if model.positions.name == "rotary" else 0  # pairs are exchanged by a product
    wanted = 2 * tokens * (4 * (layer + turns) + model.embedding_width * d) + 2 * 4 * by_distance * (d + tokens) * d
    assert flops.matmul_flops(jaxpr.jaxpr) == wanted


@pytest.mark.parametrize(
    "change", [{"sharing": "attention", "groups": 2}, {"sharing": "all", "positions": ROTARY}], ids=str
)
def test_depth_costs_no_instruction(change: dict) -> None:
    def instructions(layers: int) -> int:
        model = dataclasses.replace(BASE, **change, layers=layers, unroll=1)
        lowered = jax.jit(functools.partial(bert.encode, model)).lower(bert.abstract_params(model), make_batch())
        return lowered.as_text().count("\n")

    assert instructions(24) == instructions(4)


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    """Far along, where float32 angles are coarse, and with positions that start again or go on."""
    model = dataclasses.replace(BASE, positions=ROTARY)
    params, batch = random_params(model), make_batch()
    encode = jax.jit(functools.partial(bert.encode, model))
    moved = batch | {"positions": batch["positions"] + 1000}
    np.testing.assert_allclose(encode(params, batch), encode(params, moved), atol=2e-3)
    stretched = batch | {"positions": batch["positions"] * 2}
    assert np.abs(encode(params, batch) - encode(params, stretched)).max() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 2}, "config.model.groups is 2; it must be 1 without model.sharing"),
        ({"sharing": "all", "groups": 3}, "config.model.groups is 3; it must be a divisor of model.layers=4"),
        ({"embedding_width": -1}, "config.model.embedding_width is -1"),
        ({"heads": 18}, None),
    ],
)
def test_refusals(change: dict, message: str | None) -> None:
    if message:
        with pytest.raises(ConfigError, match=message):
            dataclasses.replace(BASE, **change)
    else:
        with pytest.raises(ConfigError, match=r"heads of 1 cannot hold .* must be even for rotary positions"):
            bert.abstract_params(dataclasses.replace(BASE, positions=ROTARY, **change))
    with pytest.raises(ConfigError, match=r"config.model.positions.base is 1.0; it must be above 1"):
        bert.abstract_params(dataclasses.replace(BASE, positions=use("rotary", base=1.0)))

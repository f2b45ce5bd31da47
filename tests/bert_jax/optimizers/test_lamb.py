"""LAMB's variants against formulas in NumPy float64 written from the references, tensor by tensor."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.training.optimizers import lamb
from configuration.variants import ConfigError, Variant, load

STEPS = 20
VARIANTS = ["paper", "nvidia", "albert", "nezha"]


def schedule(step):
    return 0.01 / (1 + 0.1 * step)


def reference(variant, params, gradients, b1, b2, eps, decay, averaging=True):
    """Parameters, trust ratios and update norms after the gradients, for one unstacked tensor named by its path."""

    def run(path, p, grads):
        p = p.astype(np.float64)
        plain = path[-1] in ("bias", "scale")
        m, v = np.zeros_like(p), np.zeros_like(p)
        for t, g in enumerate(grads, start=1):
            g = g.astype(np.float64)
            m = b1 * m + ((1 - b1) if averaging else 1) * g
            v = b2 * v + (1 - b2) * g**2
            m_hat, v_hat = (m, v) if variant == "albert" else (m / (1 - b1**t), v / (1 - b2**t))
            u = m_hat / (np.sqrt(v_hat) + eps) + (0 if plain else decay) * p
            w, norm = np.linalg.norm(p), np.linalg.norm(u)
            ratio = w / norm if w > 0 and norm > 0 else 1.0
            if variant == "nezha":
                inside = np.linalg.norm(m_hat / np.sqrt(v_hat + eps) + decay * p)
                ratio = w / inside if w > 0 and np.linalg.norm(g) > 0 else 1.0
                ratio = min(max(ratio, 0), 10)
            if variant == "albert" and plain:
                ratio = 1.0
            if variant == "nvidia" and (plain or decay == 0):
                ratio = 1.0
            p = p - schedule(t - 1) * ratio * u
        return p, ratio, norm, w

    out = {}
    for path, p in params.items():
        grads = [g[path] for g in gradients]
        if path[0] == "layers":
            layers = [run(path, p[i], [g[i] for g in grads]) for i in range(len(p))]
            out[path] = tuple(np.stack(part) for part in zip(*layers, strict=True))
        else:
            out[path] = run(path, p, grads)
    return out


OTHERS = {"b1": 0.8, "b2": 0.98, "eps": 1e-3, "weight_decay": 0.1, "grad_averaging": False}


@pytest.mark.parametrize(
    ("variant", "options"),
    [(v, {}) for v in VARIANTS] + [(v, OTHERS) for v in VARIANTS] + [("nvidia", {"weight_decay": 0.0})],
    ids=lambda x: x if isinstance(x, str) else "-".join(x) or "defaults",
)
def test_equals_float64_reference(trees, variant, options):
    optimizer = load("bert_jax.training.optimizers", Variant("lamb", {"variant": variant, **options}))(schedule)
    statistics = load("bert_jax.training.optimizers", Variant("lamb", {"variant": variant, **options}), "statistics")
    params = jax.tree.map(jnp.asarray, trees.normal(0))
    gradients = [trees.normal(seed, scale=1e-2) for seed in range(1, STEPS + 1)]

    @jax.jit
    def step(params, state, grads):
        updates, new = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), new, statistics(grads, state, params)

    flat = trees.flatten(jax.tree.map(np.asarray, params))
    state = optimizer.init(params)
    for grads in gradients:
        params, state, measured = step(params, state, grads)

    arguments = {"b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 0.01, "grad_averaging": True} | options
    wanted = reference(variant, flat, [trees.flatten(g) for g in gradients], *arguments.values())
    moved = 0
    for path, value in trees.flatten(params).items():
        p, ratio, update_norm, parameter_norm = wanted[path]
        # The float32 sums of 20 steps stay within a few roundings of the largest entry.
        np.testing.assert_allclose(value, p, rtol=2e-6, atol=2e-6 * np.abs(p).max(), err_msg=str(path))
        for name, figure in [("trust_ratio", ratio), ("update_norm", update_norm), ("parameter_norm", parameter_norm)]:
            got = trees.flatten(measured[name])[path]
            assert got.shape == np.shape(figure)
            np.testing.assert_allclose(got, figure, rtol=3e-5, err_msg=f"{name} {path}")
        moved += np.abs(p - flat[path]).max() > 0
    assert moved == len(wanted)


def test_variants_differ(trees):
    """The four definitions are four: no two give the same parameters."""

    @jax.jit
    def first_updates(grads, params):
        optimizers = [lamb.build(schedule, variant=variant) for variant in VARIANTS]
        return [optimizer.update(grads, optimizer.init(params), params)[0] for optimizer in optimizers]

    updates = first_updates(trees.normal(1), trees.normal(0))
    results = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in updates]
    for i in range(len(VARIANTS)):
        for j in range(i):
            assert np.abs(results[i] - results[j]).max() > 1e-4


def test_one_trust_ratio_a_layer(trees):
    """Optax's own LAMB gives a stacked leaf one ratio; here each layer has the ratio that it has alone."""
    params, grads = trees.normal(0), trees.normal(1)
    stacked = jax.jit(lamb.statistics)(grads, lamb.build(schedule).init(params), params)["trust_ratio"]
    ratios = stacked["layers"]["mlp"]["up"]["kernel"]
    assert ratios.shape == (3,)
    p, g = params["layers"]["mlp"]["up"]["kernel"], grads["layers"]["mlp"]["up"]["kernel"]
    for i, ratio in enumerate(ratios):
        alone = optax.lamb(1.0, eps=1e-6, weight_decay=0.01)
        updates, _ = alone.update(g[i], alone.init(p[i]), p[i])
        first_step = g[i] / (np.abs(g[i]) + 1e-6) + 0.01 * p[i]
        np.testing.assert_allclose(ratio, np.linalg.norm(p[i]) / np.linalg.norm(first_step), rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(updates), np.linalg.norm(p[i]), rtol=1e-4)
    assert np.ptp(ratios) > 0.1


def test_nezha_caps_the_trust_ratio(trees):
    params = jax.tree.map(lambda p: 1000 * p, trees.normal(0))
    grads = trees.normal(1)
    state = lamb.build(schedule).init(params)
    capped = lamb.statistics(grads, state, params, variant="nezha", weight_decay=0.0)["trust_ratio"]
    free = lamb.statistics(grads, state, params, weight_decay=0.0)["trust_ratio"]
    assert max(float(np.max(r)) for r in jax.tree.leaves(capped)) == 10.0
    assert max(float(np.max(r)) for r in jax.tree.leaves(free)) > 10.0


def test_exclusion_by_path(trees):
    """`exclude` names keys anywhere in the path: "embeddings" takes the word table out as well."""
    params, grads = trees.normal(0), trees.normal(1)
    state = lamb.build(schedule).init(params)
    exclude = ("bias", "scale", "embeddings")
    ratios = trees.flatten(lamb.statistics(grads, state, params, variant="albert", exclude=exclude)["trust_ratio"])
    for path, ratio in ratios.items():
        assert (np.asarray(ratio) == 1.0).all() == bool(set(exclude) & set(path)), path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b1": 1.0}, "b1=1.0"),
        ({"b2": 0.0}, "b2=0.0"),
        ({"eps": 0.0}, "eps=0.0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"variant": "nvlamb"}, "variant='nvlamb'"),
        ({"weight_dekay": 0.1}, "weight_dekay"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        load("bert_jax.training.optimizers", Variant("lamb", options))(schedule)

"""What every optimizer must do, run over all files of bert_jax/optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configuration.variants import Variant, load, names

PACKAGE = "bert_jax.training.optimizers"
CASES = [Variant(name) for name in names(PACKAGE)]
CASES += [Variant("lamb", {"variant": variant}) for variant in ("nvidia", "albert", "nezha")]
CASES += [Variant("adamw", {"bias_correction": False})]


class Case:
    """An optimizer at learning rate 0.01; its update is compiled once for all tests."""

    def __init__(self, variant: Variant):
        self.name = variant.name
        self.optimizer = load(PACKAGE, variant)(lambda step: jnp.asarray(0.01, jnp.float32))
        self.update = jax.jit(self.optimizer.update)

    def run(self, params, gradients):
        """Parameters and state after the gradients."""
        state = jax.jit(self.optimizer.init)(params)
        for grads in gradients:
            updates, state = self.update(grads, state, params)
            params = jax.tree.map(np.add, params, updates)
        return params, state


@pytest.fixture(scope="module", params=CASES, ids=lambda v: "-".join([v.name, *map(str, v.options.values())]))
def case(request) -> Case:
    return Case(request.param)


def test_state_is_float32_of_the_parameters_shapes(trees, case):
    params = trees.normal(0)
    state = jax.eval_shape(case.optimizer.init, params)
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert all(leaf.dtype == jnp.float32 for leaf in floats)
    assert {p.shape for p in jax.tree.leaves(params)} <= {leaf.shape for leaf in floats}
    after = jax.eval_shape(case.optimizer.update, params, state, params)
    kinds = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (after, (params, state))]
    assert kinds[0] == kinds[1]


def test_low_precision_gradients_are_raised_to_float32_first(trees, case):
    """To a rounding, as the compiler fuses the two programs differently; bfloat16 is good to 4e-3."""
    gradients = [jax.tree.map(lambda g: g.astype(jnp.bfloat16), trees.normal(t)) for t in (1, 2)]
    raised = [jax.tree.map(lambda g: g.astype(np.float32), grads) for grads in gradients]
    got, wanted = case.run(trees.normal(0), gradients), case.run(trees.normal(0), raised)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6 * np.abs(y).max()), got, wanted)


def test_goes_down_a_quadratic(trees, case):
    params, target = trees.normal(0), trees.normal(1)
    state, losses = case.optimizer.init(params), []
    for _ in range(30):
        difference = jax.tree.map(np.subtract, params, target)
        losses.append(sum(np.sum(d**2, dtype=np.float64) for d in jax.tree.leaves(difference)))
        updates, state = case.update(difference, state, params)
        params = jax.tree.map(np.add, params, updates)
    assert losses[29] < losses[15] < losses[5] < losses[0]


@pytest.mark.parametrize("zero", ["gradients", "parameters", "both"])
def test_finite_at_zero(trees, case, zero):
    blank = jax.tree.map(np.zeros_like, trees.normal(0))
    params = trees.normal(0) if zero == "gradients" else blank
    gradients = [trees.normal(t) if zero == "parameters" else blank for t in range(3)]
    after, state = case.run(params, gradients)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, state)))
    if zero == "both":
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(after))
    if zero == "parameters":
        assert all((leaf != 0).any() for leaf in jax.tree.leaves(after))


def test_a_stack_of_layers_moves_as_its_layers_alone(trees, case):
    """Bit by bit; only Muon's products of matrices round differently in a batch of one."""
    params, gradients = trees.normal(0), [trees.normal(t) for t in range(1, 6)]
    rounding = 1e-6 if case.name == "muon" else 0.0
    stacked, _ = case.run(params, gradients)
    for i in range(3):
        alone, _ = case.run(trees.layer(params, i), [trees.layer(g, i) for g in gradients])
        for path, value in trees.flatten(alone).items():
            within = trees.flatten(trees.layer(stacked, i))[path]
            np.testing.assert_allclose(value, within, rtol=0, atol=rounding * np.abs(within).max(), err_msg=str(path))


def test_a_tensor_without_gradient_stays(trees, case):
    """A leaf, and one layer of a leaf, that no loss reads; the others move as if they had a gradient too."""
    gradients = [trees.normal(t) for t in range(1, 6)]
    for grads in gradients:
        grads["embeddings"]["word"]["embedding"][:] = 0
        grads["mlm_head"]["dense"]["kernel"][:] = 0
        for leaf in jax.tree.leaves(grads["layers"]):
            leaf[1] = 0
    before, (after, _) = trees.normal(0), case.run(trees.normal(0), gradients)
    still = [("embeddings", "word", "embedding"), ("mlm_head", "dense", "kernel")]
    for path, value in trees.flatten(after).items():
        moved = np.asarray(value) != trees.flatten(before)[path]
        if path[0] == "layers":
            assert not moved[1].any(), path
            assert moved[0].any(), path
        else:
            assert moved.any() == (path not in still), path


def test_numbers_without_gradient_decay_within_a_tensor_that_has_one(trees, case):
    """The word embeddings of tokens that no batch has, as in the papers; gradients may be as small as 1e-18."""
    gradients = [trees.normal(t) for t in range(1, 4)]
    for grads in gradients:
        grads["embeddings"]["word"]["embedding"][5:] = 0
        grads["embeddings"]["word"]["embedding"][:5] *= 1e-18
    before, (after, _) = trees.normal(0), case.run(trees.normal(0), gradients)
    tables = [np.abs(tree["embeddings"]["word"]["embedding"][5:]) for tree in (before, after)]
    assert (tables[1] < tables[0]).mean() > 0.99


def test_a_late_first_gradient_is_followed(trees, case):
    """Zero gradients at first leave the weights alone, not the count of updates."""
    blank = jax.tree.map(np.zeros_like, trees.normal(0))
    before, (after, _) = trees.normal(0), case.run(trees.normal(0), [blank, blank, trees.normal(1)])
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (old != new).any()

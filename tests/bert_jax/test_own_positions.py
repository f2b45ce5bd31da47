"""A position scheme and a kernel outside the package, in the encoder and in training."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_train_step as tiny

import bert_jax
from bert_jax.config import Mesh, use
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.modeling.choice import choose, request_for
from bert_jax.modeling.visibility import within
from bert_jax.objectives import parts_of
from bert_jax.runtime import sharding
from bert_jax.training.optimizers import lamb
from bert_jax.training.state import init_state
from bert_jax.training.step import jit_train_step
from configuration.foreign import FormatError
from configuration.variants import ConfigError, load

SLOPES = dataclasses.replace(tiny.MODEL, positions=use("plugins.slopes", start=0.3))


def trained(mesh: Mesh, steps: int = 3):
    config = tiny.make_config(mesh, model=SLOPES)
    devices = sharding.make_mesh(config.mesh, jax.devices()[: math.prod(dataclasses.astuple(mesh))])
    objective = load("bert_jax.objectives", config.objective)(config.model, tiny.VOCABULARY)
    update, state, losses = jit_train_step(config, config.phases[0], objective, devices), None, []
    state = init_state(config, devices)
    for step in range(steps):
        state, metrics = update(state, sharding.put_batch(tiny.make_batch(step), devices), ())
        losses.append(float(metrics["loss"]))
    return jax.device_get(state["params"]), losses


def test_a_scheme_with_parameters_in_each_layer_trains_alike_on_every_mesh() -> None:
    params, losses = trained(Mesh(1, 1, 1, 1))
    slopes = params["layers"]["attention"]["position"]["slope"]
    assert slopes.shape == (SLOPES.layers, SLOPES.heads)
    assert len(set(slopes[:, 0].tolist())) == SLOPES.layers  # each layer has learned its own
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(trained(Mesh(1, 2, 2, 1))[1], losses, rtol=1e-5)


def test_its_slopes_have_a_trust_ratio_a_layer() -> None:
    params = bert.init(SLOPES, jax.random.key(0), parts_of(tiny.make_config(model=SLOPES)))
    gradients = jax.tree.map(lambda x: 1e-3 * jax.random.normal(jax.random.key(1), x.shape), params)
    ratios = lamb.statistics(gradients, lamb.build(lambda _: 1e-2).init(params), params)["trust_ratio"]
    assert ratios["layers"]["attention"]["position"]["slope"].shape == (SLOPES.layers,)


@pytest.mark.torch
def test_it_is_exported_with_its_own_lines_for_pytorch(tmp_path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    params = jax.device_get(bert.init(SLOPES, jax.random.key(0), heads.parts(SLOPES, "mlm_head")))
    slopes = np.random.default_rng(0).uniform(0.1, 1, (SLOPES.layers, SLOPES.heads)).astype(np.float32)
    params["layers"]["attention"]["position"]["slope"] = slopes
    huggingface.write(SLOPES, params, tmp_path)
    ours = bert_jax.load(tmp_path)
    np.testing.assert_array_equal(ours.params["layers"]["attention"]["position"]["slope"], slopes)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, trust_remote_code=True).eval()
    tokens = np.random.default_rng(1).integers(5, tiny.V, (2, 17))
    with torch.no_grad():
        wanted = theirs(torch.tensor(tokens)).logits.numpy()
    np.testing.assert_allclose(ours(tokens)["logits"], wanted, atol=1e-5)
    theirs.save_pretrained(tmp_path / "again")
    again = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "again", trust_remote_code=True).eval()
    with torch.no_grad():
        np.testing.assert_array_equal(again(torch.tensor(tokens)).logits.numpy(), wanted)
    without = dataclasses.replace(SLOPES, positions=use("plugins.steps"))
    with pytest.raises(FormatError, match=r"'plugins.steps' ships no lines for PyTorch"):
        huggingface.write(without, params, tmp_path)


def test_the_nearer_counts_more() -> None:
    params = bert.init(SLOPES, jax.random.key(0), {})
    batch = tiny.make_batch(0)
    steep = jax.tree.map(lambda x: x, params)
    steep["layers"]["attention"]["position"]["slope"] = jnp.full((SLOPES.layers, SLOPES.heads), 100.0)
    own = bert.encode(SLOPES, steep, batch)  # each token sees itself alone
    changed = batch["tokens"].copy()
    changed[:, 0] = 7
    after = bert.encode(SLOPES, steep, batch | {"tokens": changed})
    np.testing.assert_array_equal(own[:, 1:], after[:, 1:])
    before, after = (bert.encode(SLOPES, params, b) for b in (batch, batch | {"tokens": changed}))
    assert (before[:, 1:] != after[:, 1:]).any()


def test_the_kernel_in_the_encoder() -> None:
    model = dataclasses.replace(tiny.MODEL, kernel=use("plugins.near"), positions=use("rotary"))
    params, batch = bert.init(model, jax.random.key(0)), tiny.make_batch(0)
    seeing = within(jnp.asarray(batch["segments"]), 2)
    ours = bert.encode(model, params, batch, visibility=seeing)
    reference_kernel = dataclasses.replace(model, kernel=use("xla"))
    np.testing.assert_allclose(ours, bert.encode(reference_kernel, params, batch, visibility=seeing), atol=1e-5)
    changed = batch["tokens"].copy()
    changed[:, 0] = 7
    after = bert.encode(model, params, batch | {"tokens": changed}, visibility=seeing)
    reach = 2 * model.layers  # two tokens a layer
    np.testing.assert_array_equal(ours[:, reach + 1 :], after[:, reach + 1 :])
    with pytest.raises(ConfigError, match=r"'plugins.near', which cannot do this: near is for windows"):
        choose(model, request_for(model, 37, training=False))

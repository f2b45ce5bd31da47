"""Every shipped configuration is checked, built abstractly, and counted against PyTorch."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
import shipped
from jax.interpreters import partial_eval

from bert_jax import compile_tpu
from bert_jax.config import Config
from bert_jax.convert import check_exportable
from bert_jax.modeling import bert, heads
from bert_jax.objectives import parts_of
from bert_jax.runtime.sharding import make_mesh, put_batch
from bert_jax.runtime.trees import flatten
from bert_jax.training.state import abstract_state, init_state
from bert_jax.training.state_sharding import check
from bert_jax.training.step import jit_train_step
from configuration import flags as config_flags
from configuration.variants import Variant, load, module, use

QUICK = ("modern_base",)  # the others are made of parts that the tests of the encoder and its formats run
FILES = shipped.recipes()
BASES = ("demo", "bert_base", "nezha_base", *QUICK)  # the others differ from these in sizes and rates
NAMES = [path.stem for path in FILES]


def read(name: str) -> Config:
    return shipped.read(FILES[NAMES.index(name)])


@pytest.mark.parametrize("name", NAMES)
def test_config_builds_abstractly(name: str) -> None:
    config = read(name)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    check(config, mesh)
    state = abstract_state(config, mesh)
    assert bert.count_parameters(config.model) <= sum(x.size for x in jax.tree.leaves(state["params"]))
    assert all(x.sharding is not None for x in jax.tree.leaves(state))


@pytest.mark.parametrize("name", NAMES)
def test_a_class_in_pytorch_has_the_heads_that_it_trains(name: str) -> None:
    config = read(name)
    check_exportable(config.model, bert.abstract_params(config.model, parts_of(config)))


@pytest.mark.parametrize("name", NAMES)
def test_config_names_variants_that_exist(name: str) -> None:
    config = read(name)
    for source in config.data.sources:
        load("data_pipeline.sources", source)
    load("data_pipeline.tokenizers", config.data.tokenizer)
    module("data_pipeline.sentences", config.data.sentences.name)
    module("data_pipeline.rows", config.data.rows.name)
    module("data_pipeline.words", config.data.words.name)
    for annotation in config.data.annotations:
        load("data_pipeline.annotations", annotation)
    for rule in config.data.cleaning:
        load("data_pipeline.cleaning", rule)
    for objective in config.objectives:
        load("bert_jax.objectives", objective)


@pytest.mark.parametrize("name", [n if n in BASES else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_config_of_true_size_compiles_abstractly(name: str) -> None:
    """The update of the last phase, as far as it goes without code for a machine."""
    config = compile_tpu.one_phase(read(name), phase=-1, batch_size=0)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    update = jit_train_step(config, config.phases[0], compile_tpu.make_objective(config), mesh)
    state, metrics = update.lower(abstract_state(config, mesh), compile_tpu.abstract_batch(config, mesh)).out_info
    assert metrics["loss"].shape == ()
    assert jax.tree.map(lambda x: x.shape, state["params"]) == jax.tree.map(
        lambda x: x.shape, bert.abstract_params(config.model, parts_of(config))
    )


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_config_shrunk_runs_two_steps(name: str) -> None:
    config = shrunk(read(name))
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    state = init_state(config, mesh, np.ones(101))
    before = jax.device_get(state["params"])
    update = jit_train_step(config, config.phases[0], compile_tpu.make_objective(config), mesh)
    for step in range(2):
        state, metrics = update(state, put_batch(random_batch(config, step), mesh))
        # An even guess among 101 is 4.6; that of replaced or not, and that of the boundary, add their own terms.
        terms = 2 if "boundary_loss" in metrics else 1
        assert 3 < float(metrics.get("mlm_loss", metrics["loss"])) / terms < 7
    still = [
        jax.tree_util.keystr(path)
        for path, same in jax.tree_util.tree_leaves_with_path(
            jax.tree.map(lambda old, new: np.array_equal(old, new), before, jax.device_get(state["params"]))
        )
        if same
    ]
    # The first rate of a long warm-up is too small to move a one.
    assert all("scale" in path for path in still), still


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_reads_every_parameter(name: str) -> None:
    """A parameter that no loss reads has no gradient: decay alone would change it, and it would be exported."""
    config = shrunk(read(name))
    objective = compile_tpu.make_objective(config)
    params = bert.abstract_params(config.model, parts_of(config))
    corrupted = jax.eval_shape(objective.corrupt, random_batch(config, 0), jax.random.key(0))
    loss = lambda params, batch: objective.loss(params, objective.constants, batch, None)[0]
    jaxpr = jax.make_jaxpr(loss)(params, corrupted).jaxpr
    _, read_inputs = partial_eval.dce_jaxpr(jaxpr, [True])
    names = flatten(params)
    unread = [each for each, is_read in zip(names, read_inputs[: len(names)], strict=True) if not is_read]
    assert not unread


def shrunk(config: Config) -> Config:
    """The configuration at a size for seconds, all its kinds of parts kept."""
    model = dataclasses.replace(
        config.model,
        vocab_size=101,
        layers=2,
        width=24,
        heads=3,
        mlp_width=20,
        max_length=37,
        embedding_width=min(config.model.embedding_width, 7),
        init=use("normal"),
    )
    phase = config.phases[0]
    parts = min(phase.microbatches, 2)
    phases = (dataclasses.replace(phase, length=37, batch_size=2 * parts, microbatches=parts), *config.phases[1:])
    phases = tuple(dataclasses.replace(phase, length=37) for phase in phases)
    evaluation = dataclasses.replace(config.evaluation, length=0)
    last = config.objectives[-1]
    at_once = Variant(last.name, {name: option for name, option in last.options.items() if name != "shares"})
    phases = tuple(dataclasses.replace(phase, objective=at_once) for phase in phases)
    return dataclasses.replace(config, model=model, phases=phases, evaluation=evaluation)


def random_batch(config: Config, seed: int) -> dict[str, np.ndarray]:
    """A batch of two documents a row."""
    rows, rng = config.phases[0].batch_size, np.random.default_rng(seed)
    places = np.concatenate([np.arange(15), np.arange(22)])
    return {
        "tokens": rng.integers(5, 101, (rows, 37)).astype(np.int32),
        "segments": np.tile(np.repeat([1, 2], [15, 22]), (rows, 1)).astype(np.int32),
        "positions": np.tile(places, (rows, 1)).astype(np.int32),
        "token_types": np.zeros((rows, 37), np.int32),
        "word_starts": rng.random((rows, 37)) < 0.7,
        "pair_label": rng.integers(0, 2, rows).astype(np.int32),
        "distance_label": rng.integers(0, 3, rows).astype(np.int32),
        "capital_letters": rng.integers(1, 3, (rows, 37)).astype(np.uint8),
        "entities": rng.integers(0, 3, (rows, 37)).astype(np.uint8),
        **{name: rng.random((rows, 37)) < 0.5 for name in ("capitals", "names", "phrases", "sentence_starts")},
    }


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_config_opens_with_its_name_command_and_expectation(path: Path) -> None:
    config = config_flags.read(str(path))
    document = path.read_text().split('"""')[1]
    assert config.name == path.stem
    assert f"--config=configs/{path.name}" in document
    assert "Source:" in document
    assert "Expected:" in document


@pytest.mark.torch
@pytest.mark.parametrize("name", ["bert_base", "bert_large"])
def test_parameters_as_many_as_pytorchs(name: str) -> None:
    """The encoder with the heads of BERT's pretraining, to the last bias."""
    import torch
    import transformers

    model = read(name).model
    settings = transformers.BertConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.width,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.mlp_width,
    )
    with torch.device("meta"):
        pretraining = transformers.BertForPreTraining(settings)
    assert (
        bert.count_parameters(model, heads.parts(model, "mlm_head", "pooler", "pair_head"))
        == pretraining.num_parameters()
    )
    bare = sum(p.numel() for p in pretraining.bert.parameters())
    assert round(bare / 1e6) == {"bert_base": 109, "bert_large": 335}[name]

"""Where training starts: what comes before what, and that the weights, the architecture and the tokenizer are right."""

import dataclasses
import string
from pathlib import Path

import jax
import numpy as np
import pytest
import runs
from test_pretrain import pretrain, write_text

import bert_jax
import bert_jax.convert
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Checkpoints, Config, Mesh, Model, Phase
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.runtime import sharding
from bert_jax.training import start
from bert_jax.training.setup import open_store
from bert_jax.training.state import init_state
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, use
from data_pipeline.cooccurrence import token_vectors
from data_pipeline.store import Store
from data_pipeline.tokenizers import wordpiece

PIECES = [*runs.SPECIALS, ".", *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
ENCODER = Model(
    vocab_size=len(PIECES) + 2,  # two embeddings that no piece has
    layers=2,
    width=24,
    heads=3,
    mlp_width=20,
    max_length=40,
    norm_epsilon=1e-5,
    activation="gelu_tanh",
)
TINY = Config(
    "tiny",
    (Phase(steps=9, length=runs.L, batch_size=4, learning_rate=1e-3),),
    model=Model(vocab_size=runs.V, layers=1, width=24, heads=3, mlp_width=48, max_length=runs.L),
    optimizer=use("adamw"),
    mesh=Mesh(data=2, fsdp=2),
    checkpoints=Checkpoints(keep=2),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A bare encoder in PyTorch's layout, with its vocabulary."""
    folder = tmp_path_factory.mktemp("source")
    params = jax.device_get(bert.init(ENCODER, jax.random.key(7), heads.parts(ENCODER, "mlm_head", "pooler")))
    huggingface.write(ENCODER, {name: part for name, part in params.items() if name != "mlm_head"}, folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return Store.open(runs.make_recipe(tmp_path_factory.mktemp("recipe")).parent / "store")


def equal(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.slow
def test_pretraining_goes_on_from_a_checkpoint_with_one_flag(source, tmp_path) -> None:
    write_text(tmp_path / "text.txt")
    kept = {"init_from": str(source), "phases.0.learning_rate": "1e-9", "optimizer": "adamw"}
    ours = ("data.tokenizer.vocab_size", "model.vocab_size", "model.width", "model.mlp_width", "model.init")
    done = pretrain(tmp_path / "run", tmp_path / "text.txt", without=ours, **kept)
    assert done.returncode == 0, done.stderr
    assert f"starting from the weights of {source}; fresh: mlm_head; kept as they are: pooler" in done.stderr
    trained, given = bert_jax.load(tmp_path / "run"), bert_jax.load(source)
    assert not start.differences(trained.config, given.config)
    assert trained.tokenizer.pieces(range(len(PIECES))) == PIECES
    for part in ("embeddings", "layers"):
        for a, b in zip(jax.tree.leaves(trained.params[part]), jax.tree.leaves(given.params[part]), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


def test_a_head_that_is_not_trained_is_exported_as_it_came(source, store, tmp_path) -> None:
    mesh = sharding.make_mesh(TINY.mesh)
    config = dataclasses.replace(
        TINY, model=dataclasses.replace(ENCODER, vocab_size=store.vocab_size), init_from=str(tmp_path / "encoder")
    )
    params = jax.device_get(bert.init(config.model, jax.random.key(7), heads.parts(config.model, "pooler")))
    (tmp_path / "encoder").mkdir()
    huggingface.write(config.model, params, tmp_path / "encoder")
    with Checkpointer(tmp_path / "own", config.checkpoints) as own:
        state, _, said = start.init_or_resume(config, store, mesh, own)
        own.save(0, state, config, store.fingerprint)
    assert said.endswith("fresh: mlm_head; kept as they are: pooler")
    assert "pooler" not in state["params"]
    bert_jax.convert.export(tmp_path / "own", tmp_path / "export")
    assert equal(bert_jax.load(tmp_path / "export").params["pooler"], params["pooler"])


def test_what_comes_before_what(source, store, tmp_path) -> None:
    mesh = sharding.make_mesh(TINY.mesh)
    theirs = init_state(dataclasses.replace(TINY, seed=1), mesh)
    theirs = jax.tree.map(lambda x: x + 1, theirs) | {"step": theirs["step"] + 3}
    with Checkpointer(tmp_path / "other", TINY.checkpoints) as other:
        other.save(3, theirs, TINY, "another store")
    bert_jax.convert.import_(tmp_path / "other", tmp_path / "encoder")
    (tmp_path / "encoder" / "tokenizer").mkdir()
    store.tokenizer.save(tmp_path / "encoder" / "tokenizer")

    def begin(**fields: object):
        config = dataclasses.replace(TINY, **fields)
        with Checkpointer(tmp_path / "own", config.checkpoints) as own:
            state, step, said = start.init_or_resume(config, store, mesh, own)
        assert step == state["step"]
        return state, said, config

    fresh, said, _ = begin(seed=5)
    assert said == "starting from scratch"
    assert equal(fresh, init_state(dataclasses.replace(TINY, seed=5), mesh))

    weights = {"init_from": str(tmp_path / "encoder")}
    imported, said, _ = begin(**weights)
    assert said == f"starting from the weights of {tmp_path / 'encoder'}"
    assert imported["step"] == 0
    assert equal(imported["params"], theirs["params"])
    assert equal(imported["opt_state"], fresh["opt_state"])
    shardings = [[x.sharding for x in jax.tree.leaves(state)] for state in (imported, fresh)]
    assert shardings[0] == shardings[1]

    run = {"resume_from": str(tmp_path / "other")}
    resumed, said, config = begin(**weights, **run, seed=5)
    where = tmp_path / "other" / "checkpoints"
    assert said == f"starting at step 3 of the run in {where}; config.seed is 5 and was 0; another store"
    assert equal(resumed, theirs)

    with Checkpointer(tmp_path / "own", TINY.checkpoints) as own:
        own.save(4, fresh | {"step": fresh["step"] + 4}, config, store.fingerprint)
    state, said, _ = begin(**weights, **run, seed=5)
    assert said == "going on from the checkpoint of step 4"
    assert equal(state["params"], fresh["params"])


@pytest.mark.slow
def test_the_state_of_another_run_is_trained_on(tmp_path) -> None:
    recipe = runs.make_recipe(tmp_path)
    code, said = runs.run(recipe, tmp_path / "a", "--config.phases.0.steps=3")
    assert code == 0, said
    assert "starting from scratch" in said
    assert "attention kernel: xla, the fastest that can on cpu" in said
    flags = (f"--config.resume_from={tmp_path / 'a'}", "--config.phases.0.steps=5")
    code, said = runs.run(recipe, tmp_path / "b", *flags)
    assert code == 0, said
    assert f"starting at step 3 of the run in {tmp_path / 'a' / 'checkpoints'}; config.phases.0.steps is 5" in said
    assert list(runs.losses(tmp_path / "b")) == [4, 5]


def test_the_architecture_is_the_checkpoints_and_training_is_the_configurations(source) -> None:
    config = dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, dropout=0.3, dtype="bfloat16"))
    adopted = start.adopt(config, str(source), {"model.layers": "2", "phases.0.length": "40"})
    wanted = dataclasses.replace(ENCODER, dropout=0.3, dtype="bfloat16")
    assert adopted.model == wanted
    assert adopted.data.tokenizer == use("checkpoint", folder=str(source))
    words = wordpiece.build(dict, vocab=str(source / "vocab.txt"))
    read = load("data_pipeline.tokenizers", adopted.data.tokenizer)(dict)
    assert read.definition == words.definition


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.layers": "3"}, r"config.model.layers is 3, but the encoder in .* has 2: it must be the same"),
        ({"model.positions": "functional_relative"}, r"config.model.positions is .*'functional_relative'"),
        ({"phases.0.length": "41"}, r"config.phases.0.length is 41; it must be at most model.max_length=40"),
    ],
)
def test_a_flag_that_contradicts_the_checkpoint(source, overrides, message) -> None:
    with pytest.raises(ConfigError, match=message):
        start.adopt(TINY, str(source), overrides)


def test_rows_may_be_longer_than_those_of_an_encoder_without_a_table_of_positions() -> None:
    """Rotary's base may change with them, in a phase: the encoder of init_from stays what it is."""
    rotary = dataclasses.replace(ENCODER, positions=use("rotary", base=100.0))
    longer = dataclasses.replace(rotary, max_length=96)
    start.check_architecture(dataclasses.replace(TINY, model=longer), rotary)
    with pytest.raises(ConfigError, match=r"config.model.max_length is 96, but the encoder in .* has 40"):
        start.check_architecture(dataclasses.replace(TINY, model=dataclasses.replace(ENCODER, max_length=96)), ENCODER)
    other = dataclasses.replace(TINY, model=dataclasses.replace(longer, positions=use("rotary", base=5000.0)))
    with pytest.raises(ConfigError, match=r"in a phase: --config.phases.0.positions.OPTION=VALUE"):
        start.check_architecture(other, rotary)


def test_a_store_of_another_tokenizer(source, store, tmp_path) -> None:
    config = dataclasses.replace(TINY, init_from=str(source))
    pieces = store.tokenizer.vocabulary
    assert start.check_vocabulary(config, store, pieces) == 0
    assert start.check_vocabulary(config, store, pieces[:-3]) == 3
    with pytest.raises(ConfigError, match="its piece 7 is '▁w2' instead of 'else'"):
        start.check_vocabulary(config, store, [*pieces[:7], "else", *pieces[8:]])
    with pytest.raises(ConfigError, match=r"another tokenizer .* it has 101 pieces instead of 103"):
        start.check_vocabulary(config, store, [*pieces, "more", "most"])
    more = dataclasses.replace(TINY.model, vocab_size=runs.V + 3)
    config = dataclasses.replace(TINY, model=more, data=dataclasses.replace(TINY.data, store=str(store.path)))
    assert open_store(dataclasses.replace(config, init_from=str(source)), tmp_path).vocab_size == runs.V
    with pytest.raises(ConfigError, match=r"config.model.vocab_size is 104"):
        open_store(config, tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": dataclasses.replace(TINY.model, layers=2)}, "config.model.layers is 2 and was 1"),
        ({"optimizer": use("muon")}, "only one of the two has opt_state"),
        ({"phases": (dataclasses.replace(TINY.phases[0], steps=3),)}, "of step 3, but config.phases end at step 3"),
        ({"resume_from": "nowhere"}, "config.resume_from is 'nowhere', which holds no checkpoint"),
    ],
)
def test_another_runs_state_that_does_not_fit(store, tmp_path, fields, message) -> None:
    mesh = sharding.make_mesh(TINY.mesh)
    with Checkpointer(tmp_path / "other", TINY.checkpoints) as other:
        other.save(3, init_state(TINY, mesh), TINY, store.fingerprint)
    config = dataclasses.replace(TINY, **{"resume_from": str(tmp_path / "other")} | fields)
    with Checkpointer(tmp_path / "own", config.checkpoints) as own, pytest.raises(ConfigError, match=message):
        start.init_or_resume(config, store, mesh, own)


def test_the_flag_is_read_before_the_others(source, tmp_path, monkeypatch) -> None:
    recipe = runs.make_recipe(tmp_path)
    monkeypatch.setattr(config_flags, "_overrides", {"init_from": str(source), "phases.0.length": "32"})
    monkeypatch.setattr(start, "FLAGS", type("Flags", (), {"config": str(recipe)}))
    config = start.config_from_flags()
    assert (config.model.layers, config.model.vocab_size, config.init_from) == (2, len(PIECES) + 2, str(source))


@pytest.mark.parametrize("mesh", [Mesh(data=1), Mesh(data=2, fsdp=2), Mesh(data=1, fsdp=4)])
def test_word_embeddings_start_by_co_occurrence(store, tmp_path, mesh) -> None:
    config = dataclasses.replace(TINY, cooccurrence=3.0, mesh=mesh)
    made = sharding.make_mesh(mesh, jax.devices()[: mesh.data * mesh.fsdp])
    fresh = jax.device_get(init_state(config, made, store.token_counts)["params"])
    with Checkpointer(tmp_path, config.checkpoints) as checkpoints:
        begun = start.init_or_resume(config, store, made, checkpoints)
    params = jax.device_get(begun.state["params"])
    table, before = (p["embeddings"]["word"]["embedding"] for p in (params, fresh))
    vectors = token_vectors(store.split("train"), store.vocab_size, 24)
    there = np.flatnonzero(store.token_counts)
    assert len(there) > 5
    assert there.min() >= 5  # special tokens stay random
    np.testing.assert_allclose(table[there], 3.0 * config.model.init_std * vectors[there], rtol=1e-6)
    others = np.setdiff1d(np.arange(len(table)), there)
    np.testing.assert_array_equal(table[others], before[others])
    assert begun.said == "starting from scratch, word embeddings by co-occurrence"
    params["embeddings"]["word"]["embedding"] = before
    assert equal(params, fresh)  # and nothing else has changed


def test_a_co_occurrence_out_of_range() -> None:
    for value in (-1.0, 101.0, float("nan")):
        with pytest.raises(ConfigError, match="cooccurrence"):
            dataclasses.replace(TINY, cooccurrence=value)

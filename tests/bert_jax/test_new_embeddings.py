"""An encoder goes on with new pieces: old rows stay, each new one is the mean of what it replaces."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from test_pretrain import pretrain, write_text
from test_start import ENCODER, PIECES

import bert_jax
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config, Data, Mesh, Phase
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training import new_pieces, start
from bert_jax.training.setup import open_store
from configuration.variants import ConfigError, use
from data_pipeline.prepare import prepare

NEW = 9
TINY = Config(
    "tiny",
    (Phase(steps=3, length=24, batch_size=4, learning_rate=1e-9),),
    model=dataclasses.replace(ENCODER, vocab_size=99),
    optimizer=use("adamw"),
    mesh=Mesh(data=2, fsdp=2),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """An encoder in PyTorch's layout, with its head and its vocabulary."""
    folder = tmp_path_factory.mktemp("source")
    draw = iter(jax.random.split(jax.random.key(7), 99))
    params = bert.init(ENCODER, jax.random.key(3), heads.parts(ENCODER, "mlm_head", "pooler"))
    params = jax.tree.map(lambda x: np.asarray(x + jax.random.normal(next(draw), x.shape)), params)
    huggingface.write(ENCODER, params, folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


def means(rows: np.ndarray, tokenizer) -> np.ndarray:
    """What the new rows should be, by the letters of each new piece."""
    found = []
    for piece in tokenizer.vocabulary[len(PIECES) :]:
        letters = piece.removeprefix("##")
        inner = [PIECES.index(f"##{letter}") for letter in letters]
        first = inner[0] if piece.startswith("##") else PIECES.index(letters[0])
        found.append(rows[[first, *inner[1:]]].mean(axis=0))
    return np.stack(found)


def test_rows_of_new_pieces(source, tmp_path) -> None:
    write_text(tmp_path / "text.txt")
    text = dataclasses.replace(TINY, data=Data(sources=(use("text_files", paths=str(tmp_path / "text.txt")),)))
    config = start.adopt(text, str(source), {"data.tokenizer.new_pieces": str(NEW)})
    assert config.model.vocab_size == len(PIECES) + NEW
    store = prepare(config.data, tmp_path / "store")
    assert store.vocab_size == config.model.vocab_size

    for task, kept in ((use("mlm"), {"pooler"}), (use("electra"), {"pooler"})):
        trained = dataclasses.replace(config, objective=task)
        with Checkpointer(tmp_path / task.name, trained.checkpoints) as own:
            state, _, said = start.init_or_resume(trained, store, sharding.make_mesh(TINY.mesh), own)
        assert f"starting from the weights of {source}, with {NEW} new pieces" in said
        assert ("kept as they are" in said) == bool(kept)
        given, now = (flatten(jax.device_get(x)) for x in (bert_jax.load(source).params, state["params"]))
        for name in given.keys() & now.keys():
            if name in ("embeddings.word.embedding", "mlm_head.bias"):
                old = given[name][: len(PIECES)]
                np.testing.assert_array_equal(now[name][: len(PIECES)], old)
                new = now[name][len(PIECES) : config.model.vocab_size]
                np.testing.assert_allclose(new, means(old, store.tokenizer), rtol=1e-6)
            else:
                np.testing.assert_array_equal(now[name], given[name], err_msg=name)
        assert {"embeddings.word.embedding", "layers.mlp.up.kernel"} <= given.keys() & now.keys()


def test_a_store_with_new_pieces_says_what_the_model_needs(source, tmp_path) -> None:
    write_text(tmp_path / "text.txt")
    sources = (use("text_files", paths=str(tmp_path / "text.txt")),)
    data = Data(sources=sources, tokenizer=use("checkpoint", folder=str(source), new_pieces=NEW))
    store = prepare(data, tmp_path / "store")
    named = {"data.store": str(store.path)}
    with pytest.raises(ConfigError, match=f"set --config.model.vocab_size={len(PIECES) + NEW}"):
        open_store(start.adopt(TINY, str(source), named), tmp_path)
    config = start.adopt(TINY, str(source), named | {"model.vocab_size": str(len(PIECES) + NEW)})
    with Checkpointer(tmp_path / "own", config.checkpoints) as own:
        said = start.init_or_resume(config, open_store(config, tmp_path), sharding.make_mesh(TINY.mesh), own).said
    assert f"with {NEW} new pieces" in said
    config = start.adopt(TINY, str(source), named | {"model.vocab_size": "200"})
    with (
        Checkpointer(tmp_path / "other", config.checkpoints) as own,
        pytest.raises(ConfigError, match=f"needs {len(PIECES) + NEW}: leave it out"),
    ):
        start.init_or_resume(config, store, sharding.make_mesh(TINY.mesh), own)


def test_a_row_without_old_pieces_is_the_mean_of_all() -> None:
    old = np.arange(12.0).reshape(4, 3)
    found = new_pieces.with_rows(old, 3, [[0, 2], []], 8)
    np.testing.assert_array_equal(found[:3], old[:3])
    np.testing.assert_array_equal(found[3], old[[0, 2]].mean(axis=0))
    np.testing.assert_array_equal(found[4], old[:3].mean(axis=0))
    assert not found[5:].any()


@pytest.mark.slow
def test_the_whole_command(source, tmp_path) -> None:
    write_text(tmp_path / "text.txt")
    changes = {"init_from": str(source), "data.tokenizer.new_pieces": str(NEW), "phases.0.learning_rate": "1e-9"}
    ours = ("data.tokenizer.vocab_size", "model.vocab_size", "model.width", "model.mlp_width", "model.init")
    done = pretrain(tmp_path / "run", tmp_path / "text.txt", without=ours, optimizer="adamw", **changes)
    assert done.returncode == 0, done.stderr
    for folder in ("run", "run/huggingface"):
        encoder = bert_jax.load(tmp_path / folder)
        assert encoder.tokenizer.vocabulary[: len(PIECES)] == PIECES
        assert encoder.tokenizer.vocab_size == encoder.config.vocab_size == len(PIECES) + NEW

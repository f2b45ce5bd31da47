"""Work folders of strangers: what their configuration names outside the folder is not opened unless the user asks."""

import dataclasses
import http.server
import shutil
import threading
from pathlib import Path

import pytest
import runs

import bert_jax
from bert_jax import convert
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Checkpoints, Config, Mesh, Model, Phase
from bert_jax.runtime import sharding
from bert_jax.training import start
from bert_jax.training.setup import open_store
from bert_jax.training.state import init_state
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError
from data_pipeline import checkpoint_tokenizer
from data_pipeline.checkpoint_tokenizer import OutsideError

MODEL = Model(vocab_size=runs.V, layers=1, width=24, heads=3, mlp_width=48, max_length=runs.L)
CONFIG = Config("tiny", (Phase(9, runs.L, 4, 1e-3),), model=MODEL, mesh=Mesh(data=1, fsdp=-1))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return runs.make_recipe(tmp_path_factory.mktemp("recipe")).parent / "store"


def make_run(workdir: Path, store: str, checkpoints: str = "") -> Path:
    """A work folder as another person's training leaves it, with one checkpoint but no tokenizer of its own."""
    data = dataclasses.replace(CONFIG.data, store=store)
    config = dataclasses.replace(CONFIG, data=data, checkpoints=Checkpoints(folder=checkpoints))
    with Checkpointer(workdir, config.checkpoints) as own:
        own.save(3, init_state(config, sharding.make_mesh(config.mesh)), config, "a store")
    cli.write_json(workdir / "config.json", config_flags.to_dict(config))
    return workdir


def test_a_store_outside_is_opened_only_where_it_is_asked_for(store, tmp_path, capfd) -> None:
    workdir = make_run(tmp_path / "run", str(store))
    assert bert_jax.load(workdir).tokenizer is None
    said = capfd.readouterr().err
    assert f"opened without its tokenizer: {workdir} names the store {store}, which is outside that folder" in said
    assert f"--store={store}" in said
    assert bert_jax.load(workdir, store=str(store)).tokenizer.vocab_size == runs.V
    convert.export(workdir, tmp_path / "bare")
    assert not (tmp_path / "bare" / "tokenizer.json").exists()
    convert.export(workdir, tmp_path / "whole", store=str(store))
    assert (tmp_path / "whole" / "tokenizer.json").exists()


@pytest.mark.parametrize("name", ["store", "mine"])
def test_a_store_within_is_opened(store, tmp_path, name) -> None:
    workdir = make_run(tmp_path / "run", "" if name == "store" else str(tmp_path / "run" / name))
    shutil.copytree(store, workdir / name)
    assert bert_jax.load(workdir).tokenizer.vocab_size == runs.V


def test_no_url_is_followed(tmp_path) -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        workdir = make_run(tmp_path / "run", f"http://127.0.0.1:{server.server_port}/store")
        assert bert_jax.load(workdir).tokenizer is None
        with pytest.raises(OutsideError, match="names the store http://127"):
            start.adopt(CONFIG, str(workdir), {})
        server.shutdown()
    assert asked == []


@pytest.mark.parametrize("named", ["../elsewhere", "{0}/run/../elsewhere", "gs://bucket/store", "file:///etc", "/etc"])
def test_ways_out_of_a_folder(tmp_path, named) -> None:
    named = named.format(tmp_path)
    with pytest.raises(OutsideError, match=f"--store={named}"):
        checkpoint_tokenizer.store_of(tmp_path / "run", named)
    assert checkpoint_tokenizer.store_of(tmp_path / "run", named, "mine") == Path("mine")


def test_checkpoints_outside_are_opened_only_where_they_are_asked_for(store, tmp_path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    workdir = make_run(tmp_path / "run", "", checkpoints=elsewhere)
    (workdir / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=f"names the checkpoints {elsewhere}, which are outside.*--checkpoints="):
        bert_jax.load(workdir)
    assert bert_jax.load(workdir, checkpoints=elsewhere).config == MODEL


def test_an_encoder_to_start_from_has_its_tokenizer_in_the_folder_or_where_the_user_says(store, tmp_path) -> None:
    workdir = make_run(tmp_path / "run", str(store))
    with pytest.raises(OutsideError, match=rf"--config.data.store={store}"):
        start.adopt(CONFIG, str(workdir), {})
    adopted = start.adopt(CONFIG, str(workdir), {"data.store": str(store)})
    assert adopted.data.tokenizer.options["folder"] == str(store)


def test_a_run_keeps_its_tokenizer_so_that_it_opens_without_its_store(store, tmp_path, capfd) -> None:
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, store=str(store)))
    workdir = make_run(tmp_path / "run", str(store))
    for _ in range(2):
        with Checkpointer(workdir, config.checkpoints) as own:
            opened = open_store(config, workdir)
            start.init_or_resume(config, opened, sharding.make_mesh(config.mesh), own, accept_changes=True)
    assert bert_jax.load(workdir).tokenizer.definition == opened.tokenizer.definition
    assert start.adopt(CONFIG, str(workdir), {}).data.tokenizer.options["folder"] == str(workdir)
    assert not list(workdir.glob(".tokenizer*"))
    assert "opened without" not in capfd.readouterr().err

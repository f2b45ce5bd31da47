"""Beam's direct runner makes the store that the local path makes, to the byte."""

import os

import fsspec
import pytest

from bert_jax.config import Data
from configuration.variants import use
from data_pipeline.errors import DataError
from data_pipeline.prepare import prepare
from data_pipeline.sources import _files
from data_pipeline.store import shards

pytest.importorskip("apache_beam", reason="the extra beam is not installed")

from data_pipeline import beam


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two sources of several parts and several shards."""
    monkeypatch.setattr(_files, "PART_BYTES", 1 << 11)
    monkeypatch.setattr(shards, "SHARD_BYTES", 1 << 13)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = []
    for i, things in enumerate((["mill", "river", "school"], ["bridge", "winter", "door"])):
        documents = [
            f"The {t} of {n}. It was {n % 7} years old!\nNobody saw {t} {n}." for n in range(99) for t in things
        ]
        names.append(str(tmp_path / f"{i}.txt"))
        with open(names[-1], "w") as file:
            file.write("\n\n".join(documents))
    sources = tuple(use("text_files", paths=name) for name in names)
    return Data(
        sources=sources,
        tokenizer=use("sentencepiece", vocab_size=50),
        cleaning=(use("unicode"),),
        held_out=0.1,
        workers=1,
    )


def contents(folder):
    files = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {os.path.relpath(file, folder): open(file, "rb").read() for file in files}


def test_the_same_store_to_the_byte(data, tmp_path):
    local = prepare(data, tmp_path / "local", progress=False)
    assert len(local.manifest.shards) > 6
    store = beam.prepare(data, str(tmp_path / "beam"), options=["--runner=DirectRunner"])
    assert contents(store.path) == contents(local.path)
    assert not (tmp_path / "beam.preparing").exists()
    assert beam.prepare(data, str(tmp_path / "beam")).fingerprint == store.fingerprint  # made already


def test_to_a_remote_path(data, tmp_path):
    local = prepare(data, tmp_path / "local", progress=False)
    files = fsspec.filesystem("memory")
    store = beam.prepare(data, "memory://bucket/beam", options=["--runner=DirectRunner", "--direct_num_workers=1"])
    assert store.fingerprint == local.fingerprint
    written = {name.removeprefix("/bucket/beam/"): files.cat_file(name) for name in files.find("/bucket/beam")}
    assert written == contents(local.path)
    assert not files.exists("/bucket/beam.preparing")


def test_text_without_documents(data, tmp_path):
    (tmp_path / "0.txt").write_text("Nothing but one document.")
    (tmp_path / "1.txt").write_text("And another, which is kept too.")
    with pytest.raises(DataError, match=r"vocab_size=50 is more than|leaves none to held_out"):
        beam.prepare(data, str(tmp_path / "beam"))
    assert not (tmp_path / "beam").exists()

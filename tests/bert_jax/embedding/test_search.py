"""Exact search in blocks, and the command."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from encoders import make_encoder, make_texts

from bert_jax.embedding.search import search
from bert_jax.formats import native
from configuration.variants import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("score", ["cosine", "dot"])
@pytest.mark.parametrize(("top", "block", "query_block"), [(5, 65536, 256), (7, 10, 3), (3, 2, 2), (200, 33, 4)])
def test_it_is_a_sort_of_all_scores(score: str, top: int, block: int, query_block: int) -> None:
    rng = np.random.default_rng(0)
    queries, vectors = rng.normal(size=(11, 12)).astype(np.float32), rng.normal(size=(101, 12)).astype(np.float32)
    scores, numbers = search(queries, vectors, top, score, block=block, query_block=query_block)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True) if score == "cosine" else x
    wanted = unit(queries.astype(np.float64)) @ unit(vectors.astype(np.float64)).T
    order = np.argsort(-wanted, kind="stable")[:, :top]
    np.testing.assert_array_equal(numbers, order)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, order, 1), atol=1e-5)


def test_of_equal_vectors_the_first_come_first() -> None:
    _, numbers = search(np.ones((1, 4)), np.ones((30, 4), np.float32), 12, block=7)
    assert numbers.tolist() == [list(range(12))]


def test_vectors_of_another_width() -> None:
    with pytest.raises(ConfigError, match="the queries have 4 numbers each and the vectors 5"):
        search(np.ones((1, 4)), np.ones((3, 5)), 1)


def test_the_command_shows_the_nearest_texts(tmp_path: Path) -> None:
    encoder, texts = make_encoder(), [f"{text} sea" for text in make_texts(40)]
    texts = list(dict.fromkeys(texts))
    (tmp_path / "model").mkdir()
    native.write(encoder.config, encoder.params, tmp_path / "model")
    encoder.tokenizer.save(tmp_path / "model" / "tokenizer")
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    np.save(tmp_path / "vectors.npy", encoder.embed(texts))

    def run(*more: str) -> subprocess.CompletedProcess:
        paths = {"model": "model", "vectors": "vectors.npy", "texts": "texts.txt"}
        files = [f"--{name}={tmp_path / file}" for name, file in paths.items()]
        command = [sys.executable, "-m", "bert_jax.search", *files, f"--query={texts[3]}", *more]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)

    done = run(f"--json={tmp_path / 'found.json'}", "--top=3")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())["queries"][0]["found"]
    assert (found[0]["number"], found[0]["text"]) == (3, texts[3])
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    assert len(found) == 3
    assert texts[3][:100] in done.stdout
    if importlib.util.find_spec("faiss"):
        for _ in ("built", "opened"):
            done = run(f"--json={tmp_path / 'near.json'}", "--top=3", f"--index={tmp_path / 'vectors.faiss'}")
            assert done.returncode == 0, done.stderr
            near = json.loads((tmp_path / "near.json").read_text())["queries"][0]["found"]
            assert [hit["number"] for hit in near] == [hit["number"] for hit in found]
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "has 2 texts and" in done.stderr

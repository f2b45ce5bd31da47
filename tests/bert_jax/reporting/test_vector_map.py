"""The map of vectors: groups stay apart, texts are escaped, nothing comes from the network."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bert_jax import vector_map
from bert_jax.reporting.vector_map import vector_map as section

pytest.importorskip("sklearn")
ROOT = Path(__file__).parents[3]


def groups(each: int = 25) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 6 * rng.normal(size=(3, 16))
    return np.repeat(centres, each, axis=0) + rng.normal(size=(3 * each, 16))


def test_the_nearest_point_is_of_the_same_group() -> None:
    points = vector_map.layout(groups().astype(np.float32))
    assert points.min() == 0
    assert points.max() == 1
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + 9 * np.eye(75)
    assert (distances.argmin(1) // 25 == np.arange(75) // 25).all()
    np.testing.assert_array_equal(points, vector_map.layout(groups().astype(np.float32)))


def test_texts_are_escaped_and_there_is_no_map_without_points() -> None:
    html = section({"points": [[0, 0], [1, 1]], "texts": ["<script>x()</script>", "a & b"], "vectors": 7})
    assert html.count("<script>") == 1
    assert "&lt;script&gt;x()" in html
    assert "a &amp; b" in html
    assert "2 of 7 vectors" in html
    assert not re.search(r"https?:|src=|@import|url\(", html)
    assert section({}) == ""


def test_the_command_puts_the_map_into_the_report(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", groups().astype(np.float32))
    (tmp_path / "texts.txt").write_text("\n".join(f"text number {i}" for i in range(75)))

    def run(*more: str) -> subprocess.CompletedProcess:
        files = [f"--vectors={tmp_path / 'vectors.npy'}", f"--texts={tmp_path / 'texts.txt'}"]
        command = [sys.executable, "-m", "bert_jax.vector_map", *files, f"--workdir={tmp_path / 'page'}", *more]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)

    done = run("--most=40")
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "page/report.html").read_text()
    assert html.count("<circle") == 40
    assert "<title>text number 0</title>" in html
    assert "40 of 75 vectors" in html
    (tmp_path / "texts.txt").write_text("one\n")
    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "has 1 texts and" in done.stderr

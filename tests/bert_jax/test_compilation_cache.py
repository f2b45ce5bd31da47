"""Compiled programs on disk: shared between processes, the same numbers to the bit, never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.runtime import compilation_cache

PROGRAM = """
import sys
from bert_jax.runtime import compilation_cache
compilation_cache.start(sys.argv[1])
import jax, jax.numpy as jnp, jax.monitoring
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name.rpartition("/")[2]))
x = jax.random.normal(jax.random.key(0), (37, 101))
y = jax.jit(lambda x: jax.grad(lambda x: jnp.tanh(x @ x.T).sum())(x))(x)
print(sorted(set(events) & {"cache_hits", "cache_misses"}), y.sum().tobytes().hex(), jax.device_get(y).tobytes().hex())
"""


def start(folder: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM, folder],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(folder: str) -> list[str]:
    """What happened, and the numbers."""
    said, errors = (process := start(folder)).communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Error" not in errors
    events, _, numbers = said.partition("] ")
    return [events.strip("[]"), numbers]


def test_a_second_process_compiles_nothing_and_gives_the_same_bits(tmp_path: Path) -> None:
    fresh = run(compilation_cache.OFF)
    together = [start(str(tmp_path)) for _ in range(2)]  # both write at once
    assert [process.communicate(timeout=120)[0].partition("] ")[2] for process in together] == [fresh[1]] * 2
    assert run(str(tmp_path)) == ["'cache_hits'", fresh[1]]
    (folder,) = tmp_path.iterdir()
    halves = sorted(folder.glob("jit__lambda*-cache"))
    for program in halves:  # as a kill in the middle of writing leaves it
        program.write_bytes(program.read_bytes()[:100])
        program.with_name(program.name.removesuffix("-cache") + "-atime").unlink()
    assert halves
    assert run(str(tmp_path)) == ["'cache_hits', 'cache_misses'", fresh[1]]
    assert run(str(tmp_path)) == ["'cache_hits'", fresh[1]]  # mended


def test_a_folder_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(str(tmp_path / "file"))[0] == ""


def test_the_user_s_own_cache_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert compilation_cache.start(str(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []

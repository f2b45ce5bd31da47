"""Compiling for TPU slices: what needs no compiler, then the real one where it is installed (extra tpu)."""

import dataclasses
import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest

from bert_jax import compile_tpu
from bert_jax.compile_tpu import GIB, OutOfMemory, chip_of, in_words, largest, one_phase
from bert_jax.config import Config, Model, Phase
from bert_jax.modeling.bert import count_parameters
from bert_jax.objectives import parts_of
from configuration.variants import ConfigError, use

MODEL = Model(vocab_size=1000, layers=3, width=128, heads=2, mlp_width=512, max_length=128, dtype="bfloat16")
CONFIG = Config(
    name="small",
    phases=(
        Phase(steps=9, length=128, batch_size=64, learning_rate=1e-3),
        Phase(steps=9, length=64, batch_size=32, learning_rate=1e-3, microbatches=4),
    ),
    model=MODEL,
    optimizer=use("adamw"),
)
PADDED = dataclasses.replace(MODEL, vocab_size=MODEL.padded_vocab_size)
PARAMETERS = count_parameters(PADDED, parts_of(dataclasses.replace(CONFIG, model=PADDED)))
compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="pip install 'bert_jax[tpu]'")


@pytest.mark.parametrize("limit", [*range(1, 40), 1000])
def test_the_largest_is_found_to_an_eighth(limit) -> None:
    asked: list[int] = []

    def fits(n: int) -> bool:
        asked.append(n)
        return n <= limit

    found = largest(fits)
    assert limit - max(0, limit // 8) <= found <= limit
    assert len(asked) == len(set(asked)) <= 2 + 2 * limit.bit_length()


def test_nothing_fits() -> None:
    assert largest(lambda n: False) == 0


def test_without_the_compiler_one_line_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(compile_tpu.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"the TPU compiler is not installed: pip install 'bert_jax\[tpu\]'"):
        compile_tpu.use_compiler()


@pytest.mark.parametrize("topology", ["v7:4x4", "v5e", "v5e:", "v5e:4by4", "4x4", "x*v5e:4x4", "0*v5e:4x4"])
def test_a_slice_that_is_none(topology) -> None:
    with pytest.raises(
        ConfigError, match=f"--topology={re.escape(topology)} must be a kind of chip and a shape, such as v5e:4x4"
    ):
        chip_of(topology)


def test_a_phase_alone() -> None:
    assert one_phase(CONFIG, -1, 0).phases == CONFIG.phases[1:]
    assert one_phase(CONFIG, 0, 0).phases == CONFIG.phases[:1]
    assert one_phase(CONFIG, 1, 96).phases[0].batch_size == 96
    assert one_phase(CONFIG, 1, 96).phases[0].microbatches == 1
    with pytest.raises(ConfigError, match="--phase=2, but the configuration has 2 phases"):
        one_phase(CONFIG, 2, 0)


def test_out_of_memory_in_the_compilers_words() -> None:
    says = "Ran out of memory in memory space hbm. Used 26.30G of 15.75G hbm. Exceeded hbm capacity by 10.55G."
    error = in_words(RuntimeError(f"RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. {says}\n\nTotal hbm usage"))
    assert isinstance(error, OutOfMemory)
    assert str(error).startswith(says)
    assert "Remedies: " in str(error)
    other = RuntimeError("INTERNAL: something else")
    assert in_words(other) is other


def compile_for(tmp_path, *flags: str) -> tuple[subprocess.CompletedProcess, dict]:
    """Runs the command on `CONFIG`; a process of its own, since the compiler keeps settings of its process."""
    path = tmp_path / "small.py"
    path.write_text(
        f"from bert_jax.config import *\nconfig = {CONFIG!r}\n",
        encoding="utf-8",
    )
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bert_jax.compile_tpu", f"--config={path}", f"--json={figures}", *flags]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return result, json.loads(figures.read_text()) if figures.exists() else {}


@compiler
@pytest.mark.tpu_compile
def test_figures_of_a_small_model(tmp_path) -> None:
    result, figures = compile_for(tmp_path, "--topology=v5e:2x2,v5e:4x4", "--phase=0", "--batch_size=256")
    assert result.returncode == 0, result.stderr
    small, large = figures["topologies"]
    assert (small["chips"], large["chips"]) == (4, 16)
    for figure in (small, large):
        assert figure["memory"]["state_bytes"] == pytest.approx(3 * 4 * PARAMETERS, rel=0.001)
        assert figure["memory"]["total"] < figure["memory"]["available"] == 16 * GIB
        # The gradients once: float32 for the tables, bfloat16 for the layers; never more than all of it in float32.
        reduced = figure["collectives"]["all-reduce"]["bytes"]
        assert 2 * PARAMETERS < reduced < 4.2 * PARAMETERS
        assert figure["step_seconds"][0] <= figure["step_seconds"][1]
        assert figure["estimated_cycles"] > 1000
        assert 0 < figure["seconds_in_kernels"] < figure["seconds_computing"]
    # Four times the chips for the same batch: a quarter of the work each.
    assert small["matmul_flops"] == pytest.approx(4 * large["matmul_flops"])
    per_token = 6 * (MODEL.layers * 12 * MODEL.width**2)
    assert small["matmul_flops"] * 4 > 0.8 * per_token * 256 * 128
    assert re.search(r"v5e:4x4 +16 chips +batch +256", result.stdout)


@compiler
@pytest.mark.tpu_compile
def test_weights_split_over_the_slice(tmp_path) -> None:
    result, figures = compile_for(tmp_path, "--topology=v5e:2x4", "--config.mesh.data=1", "--config.mesh.fsdp=8")
    assert result.returncode == 0, result.stderr
    (figure,) = figures["topologies"]
    assert figure["memory"]["state_bytes"] == pytest.approx(3 * 4 * PARAMETERS / 8, rel=0.1)
    assert figure["mesh"] == {"replica": 1, "data": 1, "fsdp": 8, "tensor": 1}
    assert figure["batch_size"] == 32
    assert "all-gather" in figures["topologies"][0]["collectives"]


@compiler
@pytest.mark.tpu_compile
def test_two_slices(tmp_path) -> None:
    flags = ["--topology=2*v5e:2x2", "--config.mesh.data=1", "--config.mesh.fsdp=4"]
    result, figures = compile_for(tmp_path, *flags, "--config.mesh.replica=2")
    assert result.returncode == 0, result.stderr
    (figure,) = figures["topologies"]
    assert figure["mesh"] == {"replica": 2, "data": 1, "fsdp": 4, "tensor": 1}
    assert figure["memory"]["state_bytes"] == pytest.approx(3 * 4 * PARAMETERS / 4, rel=0.1)
    result, _ = compile_for(tmp_path, *flags, "--config.mesh.replica=1", "--config.mesh.data=2")
    assert result.returncode == 1
    assert "error: config.mesh.replica is 1, but the devices are in 2 slices: set it so" in result.stderr


@compiler
@pytest.mark.tpu_compile
def test_too_large_a_batch_is_refused_by_the_compiler(tmp_path) -> None:
    result, _ = compile_for(tmp_path, "--topology=v5e:2x2", "--phase=0", "--batch_size=262144")
    assert result.returncode == 1
    assert re.search(r"error: .*(Ran out of memory|Used \S+ of \S+ hbm)", result.stderr), result.stderr
    assert "Remedies: " in result.stderr


@compiler
@pytest.mark.tpu_compile
def test_a_slice_that_the_compiler_does_not_know(tmp_path) -> None:
    result, _ = compile_for(tmp_path, "--topology=v5e:3x5")
    assert result.returncode == 1
    assert "error: --topology=v5e:3x5 is no slice that the compiler knows" in result.stderr

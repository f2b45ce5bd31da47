"""Each recipe's last phase at its true size, compiled for a TPU slice by the real compiler: `make compile`."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import pytest
import shipped

from configuration import flags as config_flags

RECIPES = shipped.recipes()
SLICES = {"v5e:8x8": 64, "v5e:4x4": 16, "v5e:2x4": 8, "v5e:2x2": 4}
TOKENS = 4096  # on a chip at a time, so that large models fit; or one row


@pytest.mark.tpu_compile
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="make compile")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_it_compiles_and_fits(recipe, tmp_path) -> None:
    config = shipped.read(recipe)
    topology, microbatches = choose(config.phases[-1])
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bert_jax.compile_tpu", f"--config={recipe}", f"--topology={topology}"]
    flags = [f"--config.phases.{len(config.phases) - 1}.microbatches={microbatches}", f"--json={figures}"]
    if "similar" in str(config.objective):
        flags.append(f"--config.objective.replacement.file={shipped.SIMILAR}")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(figures.read_text())["topologies"]
    assert found["batch_size"] == config.phases[-1].batch_size
    assert found["length"] == config.phases[-1].length
    assert found["memory"]["share"] < 1
    assert found["estimated_cycles"] > 0
    assert found["collectives"]["all-reduce"]["bytes"] > 0


def choose(phase) -> tuple[str, int]:
    """The largest slice whose chips divide the rows of a microbatch, and how many of these there must be."""
    for topology, chips in SLICES.items():
        for microbatches in range(phase.microbatches, phase.batch_size // chips + 1):
            fits = phase.batch_size // microbatches // chips * phase.length <= max(TOKENS, phase.length)
            if fits and phase.batch_size % (microbatches * chips) == 0:
                return topology, microbatches
    raise AssertionError(f"{phase.batch_size} rows split over no slice")


def test_the_choice_keeps_the_batch() -> None:
    for recipe in RECIPES:
        phase = config_flags.read(str(recipe)).phases[-1]
        topology, microbatches = choose(phase)
        assert phase.batch_size % (SLICES[topology] * microbatches) == 0
        assert dataclasses.replace(phase, microbatches=microbatches).microbatches >= phase.microbatches

"""The GPU's benchmark goes from start to end without a GPU, and without TensorFlow and ml_collections."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.torch
def test_a_dry_run_times_ours_and_the_peer(tmp_path: Path) -> None:
    for name in ("tensorflow", "ml_collections"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not here')")
    figures = tmp_path / "figures.json"
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks/train_step_gpu.py"), "--dry_run", "--sizes=base 128"),
            *("--peers=bert", "--rounds=1", f"--json={figures}"),
        ],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        check=True,
        timeout=240,
    )
    size = json.loads(figures.read_text())["base 128"]
    assert size["failed"] == {}
    assert size["cases"].keys() == {"absolute, xla", "functional_relative, xla", "peer bert"}
    assert all(case["tokens_per_second"] > 0 for case in size["cases"].values())

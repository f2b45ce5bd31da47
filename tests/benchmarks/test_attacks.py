"""A few attacks of each kind, drawn anew each time: every command withstands them, in a table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.attacks import KINDS, QUICK

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_kind_of_attack_is_withstood(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/attacks.py", "--quick", f"--json={tmp_path / 'attacks.json'}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = json.loads((tmp_path / "attacks.json").read_text())["kinds"]
    assert tuple(kinds) == KINDS
    assert all(kind["passed"] + len(kind["unavailable"]) == QUICK for kind in kinds.values())

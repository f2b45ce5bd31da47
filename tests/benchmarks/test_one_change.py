"""Changes of a recipe, trained for as much processor's time as the recipe as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
V = 101
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def random_store(folder: Path) -> Path:
    words = [*SPECIALS, *(f"▁w{i}" for i in range(V - len(SPECIALS)))]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    rng = np.random.default_rng()
    documents = [[rng.integers(5, V, n).tolist() for n in rng.integers(1, 90, rng.integers(1, 9))] for _ in range(60)]
    splits = {"train": documents[:50], "held_out": documents[50:]}
    tokenizer = Tokenizer("sentencepiece", backend.to_str())
    return write_store(folder / "store", splits, vocab_size=V, tokenizer=tokenizer).path


def run(tmp_path: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, str(ROOT / "benchmarks/one_change.py"), f"--store={random_store(tmp_path)}"),
            *(f"--folder={tmp_path / 'trainings'}", f"--json={tmp_path / 'figures.json'}", "--seeds=0", *flags),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.parametrize("change", ["best_fit", "best_fit: rows", ": rows=best_fit", "as it is: model.norm=post"])
def test_a_change_of_another_form_is_one_line(tmp_path: Path, change: str) -> None:
    done = run(tmp_path, f"--change={change}")
    assert done.returncode == 1
    assert [line for line in done.stderr.splitlines() if "expected 'NAME: FIELD=VALUE …'" in line]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_change_is_trained_as_long_as_the_recipe(tmp_path: Path) -> None:
    done = run(tmp_path, "--steps=8", "--change=wide: model.mlp_width=2752 phases.0.learning_rate=2e-3")
    assert done.returncode == 0, done.stderr
    plain, wide = json.loads((tmp_path / "figures.json").read_text())["changes"].values()
    assert plain["steps"] == 8
    assert 1 <= wide["steps"] < 8
    assert wide["fields"] == {"model.mlp_width": "2752", "phases.0.learning_rate": "2e-3"}
    assert wide["verdict"] in ("better", "worse", "noise")

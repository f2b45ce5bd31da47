"""The sharding of each configuration is what its golden file says; golden.py, run as a command, rewrites it."""

import difflib

import golden
import pytest
import shipped

NAMES = [path.stem for path in golden.CONFIGS]


@pytest.mark.parametrize("path", golden.CONFIGS, ids=NAMES)
def test_sharding_is_the_golden_one(path) -> None:
    found = golden.describe(shipped.read(path)).splitlines()
    wanted = (golden.FOLDER / f"{path.stem}.txt").read_text(encoding="utf-8").splitlines()
    difference = "\n".join(difflib.unified_diff(wanted, found, "golden", "found", lineterm="", n=0))
    assert not difference, f"PYTHONPATH=.:tests python tests/bert_jax/golden.py rewrites the files\n{difference}"


def test_there_is_no_golden_file_without_a_configuration() -> None:
    assert sorted(path.stem for path in golden.FOLDER.iterdir()) == NAMES


@pytest.mark.parametrize("path", golden.CONFIGS, ids=NAMES)
def test_large_arrays_are_split(path) -> None:
    """Nothing of a million numbers or more lies whole on every device of a mesh that splits parameters."""
    for line in golden.describe(shipped.read(path)).splitlines()[:-1]:
        name, shape, axes = line.split("  ")
        size = 1
        for n in shape.partition("[")[2].rstrip("]").split(", "):
            size *= int(n or 1)
        assert size < 1_000_000 or "fsdp" in axes, name

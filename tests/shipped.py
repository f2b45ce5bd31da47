"""The recipes that the project ships: a user's own files in configs/ are not tested."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def recipes() -> list[Path]:
    """Files of configs/ under version control; all of them where this is no checkout."""
    listed = subprocess.run(["git", "ls-files", "configs/*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted(ROOT / name for name in listed.stdout.split()) or sorted((ROOT / "configs").glob("*.py"))

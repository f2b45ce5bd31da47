"""What benchmarks of hours share: each piece of work in a process of its own, kept, and not done again."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configuration import cli


def measured(path: Path, asked: Mapping[str, Any], work: Callable[..., Mapping[str, Any]], *given: Any) -> dict:
    """What a piece of work found, with `asked` and its `seconds`; read where it is there.

    Args:
      path: the file that keeps it.
      asked: JSON of all that it depends on: if that is another now, the work is done again.
      work: of a module, called with `given`.

    Raises:
      What `work` raises.
    """
    if path.exists():
        found = json.loads(path.read_text())
        if all(found.get(name) == value for name, value in asked.items()):
            return found
    began = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as process:
        figures = process.submit(work, *given).result()
    found = {**asked, "seconds": time.monotonic() - began, **figures}
    cli.write_json(path, found)
    return found


def end_with_parent() -> None:
    """Has this process end by SIGTERM, by which a training saves, as soon as the process that began it has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()

"""One process at a time in a folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from configuration.variants import ConfigError


@contextlib.contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Holds the folder for this process; the lock goes with the process however it ends.

    Raises:
      ConfigError: another process has it; `doing` says what that one does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another process is {doing} {folder}; wait for it, end it, or give another folder"
            ) from None
        yield

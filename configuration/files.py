"""Atomic writing of files, with the file's name in errors such as a full disk."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that gets the name `path` when the block succeeds, and is removed when it fails.

    Args:
      durable: waits for the disk, so that the file outlives a loss of power too.

    Raises:
      OSError: it cannot be written; names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with named(path), open(temporary, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Writes the whole file or nothing; `durable` and errors as of `atomic_write`."""
    with atomic_write(path, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Adds the file's name to errors of the system in the block, which those of `write` lack."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None

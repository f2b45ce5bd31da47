"""Locks that are released when their process ends, however it ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def hold(path: Path, wait: bool) -> int | None:
    """A descriptor that holds the file's lock until it is closed, or its last process ends; None if another has it.

    On a shared file system the lock also holds between machines.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def alone_in(folder: Path, busy: Exception) -> Iterator[None]:
    """Holds a folder, made if it is not there, for this process; raises `busy` where another has it."""
    lock = folder / ".lock"
    while True:
        descriptor = hold(lock, wait=False)
        if descriptor is None:
            raise busy
        try:
            # The previous holder may have removed the folder with the file; then this lock protects nothing.
            if lock.exists() and os.path.samestat(lock.stat(), os.fstat(descriptor)):
                yield
                return
        finally:
            os.close(descriptor)

"""Progress of a preparation: a bar on a terminal, a line now and then in a log file."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_BETWEEN_LINES = 30

Advance = Callable[[int], None]  # takes the bytes of text that are done since the last call


@contextlib.contextmanager
def shown(what: str, total: int, wanted: bool) -> Iterator[Advance]:
    """Shows the progress of a stage on stderr.

    Args:
      total: bytes of text; 0 where that is unknown.
    """
    if not wanted:
        yield lambda size: None
    elif sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        with _lines(what, total) as advance:
            yield advance


@contextlib.contextmanager
def waiting(what: str, wanted: bool) -> Iterator[None]:
    """Reports on stderr now and then that a stage without countable progress still runs."""
    with _lines(what, 0) if wanted else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Advance]:
    import tqdm

    with tqdm.tqdm(desc=what, total=total or None, unit="B", unit_scale=True) as bar:
        yield lambda size: bar.update(size) and None


@contextlib.contextmanager
def _lines(what: str, total: int) -> Iterator[Advance]:
    """Lines come from a thread, since a step of the work can take minutes."""
    started, done, over = time.monotonic(), 0, threading.Event()

    def advance(size: int) -> None:
        nonlocal done
        done += size

    def say(state: str) -> None:
        seconds = round(time.monotonic() - started)
        clock = f"{seconds // 60}:{seconds % 60:02}"
        print(f"{what}: {state}, {clock}" if state else f"{what}: {clock}", file=sys.stderr, flush=True)

    def every_so_often() -> None:
        while not over.wait(SECONDS_BETWEEN_LINES):
            say(_amount(done, total))

    thread = threading.Thread(target=every_so_often, daemon=True)
    thread.start()
    try:
        yield advance
    finally:
        over.set()
        thread.join()
    say(f"{done / 1e6:.1f} MB" if done else "done")


def _amount(done: int, total: int) -> str:
    if not done:
        return ""
    return f"{done / 1e6:.1f} of {total / 1e6:.1f} MB ({done / total:.0%})" if total else f"{done / 1e6:.1f} MB"

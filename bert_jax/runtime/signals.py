"""Ends a loop cleanly when the user or the system asks for it."""

import signal
from types import FrameType
from typing import Any


class Stop:
    """Notes Ctrl-C and SIGTERM, so that the loop can save before it ends; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Stop":
        self._old = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

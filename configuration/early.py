"""What a command needs before its imports, which take seconds: quiet libraries, text for any terminal, Ctrl-C.

The packages of commands call `begin` when they are imported: nothing of a command's own file has run by then.
"""

import contextlib
import os
import signal
import sys
from types import FrameType

STOPPED = 130  # the exit code of a run that Ctrl-C or SIGTERM stopped and that resumes when run again
SAID = "stopped; run the same command again to resume"


def begin() -> None:
    """Prepares the process for a command; does nothing if the user's own program imports the package."""
    if getattr(sys, "argv", [])[:1] == ["-m"]:  # what Python puts there while it looks for the command's module
        quiet()
        readable()
        end_at_once_by_ctrl_c()


def quiet() -> None:
    """No build notes of TensorFlow, XLA and gRPC, in this process and its children. JAX sets a level of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow, which only reads records here, says that it is on
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def readable() -> None:
    """What a terminal's encoding lacks is written as \\u2192 rather than ending the command."""
    for stream in (sys.stdout, sys.stderr):
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        if encoding != "utf8" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def end_at_once_by_ctrl_c() -> None:
    """Ctrl-C ends the process with one line, wherever it is: there is nothing to clean up, not yet or no longer."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell's `&` has it ignored
        signal.signal(signal.SIGINT, _end)


def raise_by_ctrl_c() -> None:
    """Ctrl-C raises KeyboardInterrupt again, as Python has it."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os.write(2, f"{SAID}\n".encode())
    os._exit(STOPPED)

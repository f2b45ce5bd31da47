"""What every command shares: flags, one-line errors, figures as JSON."""

import _thread
import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from configuration import early
from configuration import flags as config_flags
from configuration.early import STOPPED
from configuration.files import write_bytes
from configuration.foreign import is_ours
from configuration.variants import ConfigError

FLAGS = flags.FLAGS


def workdir_flag() -> None:
    """--workdir"""
    flags.DEFINE_string("workdir", None, "Work folder of the run.", required=True)
    flags.register_validator("workdir", bool, "must name a folder")


def step_flag() -> None:
    """--step"""
    flags.DEFINE_string("step", "", "Checkpoint to read: its step, or best; if not given, the newest.")


def outside_flags() -> None:
    """--store, --checkpoints"""
    flags.DEFINE_string("store", "", "Store of the run, if outside the work folder: it is opened only if named here.")
    flags.DEFINE_string("checkpoints", "", "Checkpoints of the run, if outside the work folder; likewise.")


def accept_changes_flag() -> None:
    """--accept_changes"""
    flags.DEFINE_bool(
        "accept_changes", False, "Resume from the work folder's checkpoint although configuration or store differ."
    )


def json_flag() -> None:
    """--json"""
    flags.DEFINE_string("json", "", "Also write the command's figures to this file, as JSON.")


def run(main: Callable[[], Any], *define: Callable[[], None]) -> None:
    """Defines the flags, parses the command line, and runs `main` with errors as one clear line.

    Exit codes: 0 done, 1 bad input, 2 bad flags (both with one line on stderr), 130 stopped and resumable.
    """
    for flag in (*define, json_flag):
        flag()
    early.quiet()
    early.readable()
    logging.set_verbosity(logging.FATAL)  # Orbax logs each thread's traceback; `guarded` says once what ended the run
    sys.unraisablehook = _unraisable
    app.run(lambda argv: sys.exit(guarded(main, argv)), flags_parser=config_flags.parse)


def guarded(main: Callable[[], Any], argv: Sequence[str]) -> int:
    """Runs `main`; errors in what the user gave become one line and exit code 1, or 2 for wrong flags."""
    if len(argv) > 1:
        fail(f"unexpected argument {argv[1]!r}; every option is a flag, see --help")
        return config_flags.BAD_USAGE
    early.raise_by_ctrl_c()
    try:
        figures = main()
        if FLAGS.json and isinstance(figures, Mapping):
            write_json(Path(FLAGS.json), figures)
    except config_flags.UsageError as error:
        fail(str(error))
        return config_flags.BAD_USAGE
    except (ConfigError, OSError) as error:
        return fail(describe(error))
    except ValueError as error:
        if is_ours(error):
            return fail(str(error))
        raise
    except KeyboardInterrupt:
        # After Ctrl-C within an exec, such as a dataclass's, Python would end by the signal, until the next exec.
        exec("")
        print(early.SAID, file=sys.stderr)
        return STOPPED
    finally:
        early.end_at_once_by_ctrl_c()
    return 0


def _unraisable(error: "sys.UnraisableHookArgs") -> None:
    """Prints what Python could not raise, except the leftovers of a checkpoint that could not be written.

    Ctrl-C in a callback, such as JAX's of the garbage collector, would be lost: it is raised again a little later.
    """
    if issubclass(error.exc_type, KeyboardInterrupt):
        threading.Timer(0.01, _thread.interrupt_main).start()
    elif str(error.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(error)


def describe(error: Exception) -> str:
    """Our own errors unchanged; an error of the system with its file and a remedy."""
    if isinstance(error, OSError) and not isinstance(error, ConfigError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return str(error)


def fail(message: str) -> int:
    """One line on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Writes the whole file or nothing."""
    write_text(path, json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes the whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())

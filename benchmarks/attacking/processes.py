"""Running the project's commands: quickly, forked from a server, or from Python's own start."""

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 180  # after which a command hangs


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # below 0: the signal that ended it
    out: str
    error: str
    seconds: float
    memory: int  # bytes at most
    ended: bool = False  # because it hung
    left: bool = False  # a process of it stayed
    sent: bool = False  # the signal came before the end


class Servers:
    """Several servers, each of which runs a command at a time.

    Args:
      shared: folder for what commands may keep outside of theirs: compiled programs and lists of fonts.
    """

    def __init__(self, number: int, shared: Path):
        self._shared, self._idle, self._all = shared, queue.Queue(), []
        for _ in range(number):
            server = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.attacking.server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(shared),
                start_new_session=True,
            )
            self._all.append(server)
        for server in self._all:
            assert server.stdout is not None
            while server.stdout.readline() not in ("ready\n", ""):  # libraries may say something when imported
                pass
            self._idle.put(server)

    def close(self) -> None:
        """Ends the servers, and what they run."""
        for server in self._all:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()

    def run(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        number: int = 0,
        after: float = 0,
        group: bool = False,
        largest_file: int = 0,
        seconds: float = SECONDS,
    ) -> Outcome:
        """Runs a command in a folder.

        Args:
          command: module and flags.
          number, after, group: a signal, 0 for none, after so many seconds, and whether its workers get it too.
          largest_file: bytes beyond which no file grows, as if the disk were full; 0 for any.
          seconds: after which it hangs, and is ended.
        """
        with tempfile.TemporaryDirectory() as said:
            request = {
                "folder": str(folder),
                "command": list(command),
                "environment": own(folder),
                "out": f"{said}/out",
                "error": f"{said}/error",
                "signal": int(number),
                "after": after,
                "group": group,
                "largest_file": largest_file,
                "seconds": seconds,
            }
            with self._one() as server:
                server.stdin.write(json.dumps(request) + "\n")
                server.stdin.flush()
                while (line := server.stdout.readline()) and not line.startswith("{"):
                    pass
            if not line:
                raise RuntimeError("a server has died")
            out, error = (Path(said, name).read_text(errors="replace") for name in ("out", "error"))
            return Outcome(out=out, error=error, **json.loads(line))

    @contextlib.contextmanager
    def _one(self) -> Iterator[subprocess.Popen[str]]:
        server = self._idle.get()
        try:
            yield server
        finally:
            self._idle.put(server)

    def start(
        self, folder: Path, command: Sequence[str], *, number: int = 0, after: float = 0, group: bool = False
    ) -> Outcome:
        """Runs a command from Python's own start, its imports included; arguments as of `run`."""
        began, sent, ended = time.monotonic(), False, False
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
            variables = environment(self._shared) | own(folder)
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=variables,
                stdout=out,
                stderr=error,
                start_new_session=True,
            )
            if number:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(after)
                if process.poll() is None:
                    sent = True
                    (os.killpg if group else os.kill)(process.pid, number)
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                ended = True
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            stayed, texts = left(process.pid), []
            for file in (out, error):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Outcome(process.returncode, *texts, time.monotonic() - began, 0, ended, stayed, sent)


def environment(shared: Path) -> dict[str, str]:
    """Of every process: compiled programs are kept, nothing outside is asked."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    kept = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    return kept | {
        "PYTHONPATH": path,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0",
        "JAX_COMPILATION_CACHE_DIR": str(shared / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MPLCONFIGDIR": str(shared / "matplotlib"),
        "HF_HUB_OFFLINE": "1",
        "NO_GCE_CHECK": "true",
    }


def own(folder: Path) -> dict[str, str]:
    """Of a case: what a command leaves in the user's folder or among temporary files is seen."""
    for name in ("home", "temporary"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}


def left(group: int, seconds: float = 5) -> bool:
    """Whether a process of the group is still there after so long; it is ended then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.02)
    os.killpg(group, signal.SIGKILL)
    return True

"""Stops a command at random moments, and compares what it leaves with a run left alone; not a command itself."""

import argparse
import collections
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from configuration import cli

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds that a stopped run may take to save and end
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)


class Stopped(NamedTuple):
    """A command that can be stopped and started again."""

    module: str
    flags: Sequence[str]  # but for --workdir
    contents: Callable[[Path], Mapping[str, object]]  # work folder → all that must not depend on stops
    stages: str  # a regular expression: what of its output names the stage that it has come to


def run(command: Stopped, flags: argparse.Namespace) -> int:
    """The exit code of a benchmark: 1 if anything depends on the stops.

    Args:
      flags: stops, seed, and json, the file for the figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = stop_often(command, Path(folder), flags.stops, random.Random(flags.seed)) | {"seed": flags.seed}
    for stage, names in figures["stopped"].items():
        print(f"{stage:36} {', '.join(f'{count} by {name}' for name, count in names.items())}")
    print(f"{flags.stops} stops; the end is {'the same to the bit' if not figures['different'] else 'DIFFERENT'}")
    if flags.json:
        cli.write_json(Path(flags.json), figures)
    return 1 if figures["different"] else 0


def parser(document: str, stops: int) -> argparse.ArgumentParser:
    """The flags that `run` takes."""
    found = argparse.ArgumentParser(description=document.split("\n")[0])
    found.add_argument("--stops", type=int, default=stops)
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--json", default="", help="file for the figures")
    return found


def stop_often(command: Stopped, folder: Path, stops: int, rng: random.Random) -> dict[str, Any]:
    """Two runs, one left alone, one stopped so often; figures of both."""
    began = time.monotonic()
    finish(start(command, folder / "alone", folder / "alone.log"))
    seconds = time.monotonic() - began
    stopped: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    log, done = folder / "stopped.log", 0
    while done < stops:
        process = start(command, folder / "stopped", log)
        try:
            # Short and long lives alike: what is finished is passed over quickly, and the start is a stage too.
            process.wait(timeout=rng.uniform(0, seconds) * rng.random())
        except subprocess.TimeoutExpired:
            chosen = SIGNALS[done % len(SIGNALS)]
            os.killpg(process.pid, chosen)  # as a terminal does it: the workers of a stage too
            process.wait(timeout=PATIENCE)
            done += 1
            stopped[stage(command, log)][chosen.name] += 1
            print(f"stop {done} by {chosen.name}: {stage(command, log)}", file=sys.stderr)
        else:  # it came to its end: from the start once more
            finish(process)
            if different := differences(command, folder):
                return {"stops": done, "stopped": stopped, "different": different}
            subprocess.run(["rm", "-r", folder / "stopped"], check=True)
    finish(start(command, folder / "stopped", log))
    return {"stops": stops, "seconds_alone": seconds, "stopped": stopped, "different": differences(command, folder)}


def start(command: Stopped, workdir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts or goes on with a run, in a process group of its own."""
    words = [sys.executable, "-m", command.module, f"--workdir={workdir}", *command.flags]
    with open(log, "wb") as file:
        return subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Waits for a run that must end well."""
    if code := process.wait():
        raise SystemExit(f"error: the run ended with exit code {code}")


def stage(command: Stopped, log: Path) -> str:
    """The stage that a run's output came to last."""
    found = re.findall(command.stages, log.read_text(errors="replace"), re.MULTILINE)
    return found[-1] if found else "before the first stage"


def differences(command: Stopped, folder: Path) -> list[str]:
    """What the two runs left that is not the same."""
    one, other = (command.contents(folder / name) for name in ("alone", "stopped"))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))

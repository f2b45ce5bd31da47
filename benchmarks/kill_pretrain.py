"""Stops the whole command at random moments of every stage, and compares what it leaves with a run left alone.

    python benchmarks/kill_pretrain.py --stops=20 --seed=0 --json=kill_pretrain.json

`bert_jax.pretrain` with the demo's configuration and text, 60 steps. It is stopped in turn by `kill -9`, Ctrl-C and
SIGTERM, the first seconds and every stage included, and started again. Fails unless the store, the last checkpoint,
the logged losses, the evaluation, the filled masks and the exported files are the same to the bit.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from configuration import cli

ROOT = Path(__file__).parents[1]
STEPS = 60
PATIENCE = 120  # seconds that a stopped run may take to save and end
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
FLAGS = (f"--config.phases.0.steps={STEPS}", "--config.checkpoints.every_steps=10", "--config.evaluation.max_rows=64")
WHOLE_FILES = ("store/manifest.json", "evaluation.json", "fill_mask.json")  # the manifest has every shard's checksum


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="", help="file for the figures")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = stop_often(Path(folder), flags.stops, random.Random(flags.seed)) | {"seed": flags.seed}
    for stage, names in figures["stopped"].items():
        print(f"{stage:36} {', '.join(f'{count} by {name}' for name, count in names.items())}")
    print(f"{flags.stops} stops; the end is {'the same to the bit' if not figures['different'] else 'DIFFERENT'}")
    if flags.json:
        cli.write_json(Path(flags.json), figures)
    return 1 if figures["different"] else 0


def stop_often(folder: Path, stops: int, rng: random.Random) -> dict:
    """Two runs, one left alone, one stopped so often; figures of both."""
    began = time.monotonic()
    finish(start(folder / "alone", folder / "alone.log"))
    seconds = time.monotonic() - began
    stopped: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    done = 0
    while done < stops:
        process = start(folder / "stopped", folder / "stopped.log")
        try:
            # Short and long lives alike: what is finished is passed over quickly, and the start is a stage too.
            process.wait(timeout=rng.uniform(0, seconds) * rng.random())
        except subprocess.TimeoutExpired:
            chosen = SIGNALS[done % len(SIGNALS)]
            os.killpg(process.pid, chosen)  # as a terminal does it: the workers of a stage too
            process.wait(timeout=PATIENCE)
            done += 1
            stopped[stage(folder / "stopped.log")][chosen.name] += 1
            print(f"stop {done} by {chosen.name}: {stage(folder / 'stopped.log')}", file=sys.stderr)
        else:  # it came to its end: from the start once more
            finish(process)
            if different := differences(folder):
                return {"stops": done, "stopped": stopped, "different": different}
            subprocess.run(["rm", "-r", folder / "stopped"], check=True)
    finish(start(folder / "stopped", folder / "stopped.log"))
    return {"stops": stops, "seconds_alone": seconds, "stopped": stopped, "different": differences(folder)}


def start(workdir: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts or goes on with a run, in a process group of its own."""
    command = [sys.executable, "-m", "bert_jax.pretrain", "--config=configs/demo.py", f"--workdir={workdir}", *FLAGS]
    with open(log, "wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Waits for a run that must end well."""
    if code := process.wait():
        raise SystemExit(f"error: the run ended with exit code {code}")


def stage(log: Path) -> str:
    """The stage that a run's output came to last."""
    found = re.findall(r"^── (.*) → ", log.read_text(errors="replace"), re.MULTILINE)
    return found[-1] if found else "before the first stage"


def differences(folder: Path) -> list[str]:
    """What the two runs left that is not the same."""
    one, other = (contents(folder / name) for name in ("alone", "stopped"))
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def contents(workdir: Path) -> dict[str, object]:
    """All that must not depend on how often a run was stopped."""
    files = [*(workdir / name for name in WHOLE_FILES), *(workdir / "huggingface").iterdir()]
    found: dict[str, object] = {
        str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # The first step after a start is logged as well, whichever it is.
    found["losses"] = [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if line["step"] % 10 == 0]
    run = json.loads((workdir / "checkpoints" / str(STEPS) / "run" / "metadata").read_text())
    found["last checkpoint"] = run["checksums"]  # of the parameters and the moments
    return found


if __name__ == "__main__":
    sys.exit(main())

"""Whether a long run stays as it began: memory of the process, throughput, open files.

    python benchmarks/soak.py --json=soak.json --png=soak.png

Trains the tiny model of `kill_test.py` for 50,000 steps, a checkpoint every 500, and looks at the process from outside
every few seconds; the first fifth and the single step of the second phase, which compiles anew, are left out. Memory
and open files are medians of the second fifth and of the last. Throughput is by CPU time, so that other work on the
machine counts less, and beside a fixed piece of work that is done all along, since the machine's own speed changes:
steps in the CPU time of one such piece. Its change is that of a line through sixteen stretches of the run, with its
standard error.
Flat is memory that grew by at most 3%, throughput that fell by at most 3%, and no more files open.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import kill_test

from configuration import cli
from configuration.variants import ConfigError

FLAGS = flags.FLAGS
MB = 1e6
PIECES = 10  # of fixed work between two looks


def define() -> None:
    flags.DEFINE_integer("steps", 50_000, "Updates.", lower_bound=1000)
    flags.DEFINE_float("seconds", 2, "Between two looks at the process.")
    flags.DEFINE_string("png", "", "Also draw this picture.")


def main() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        looks = soak(Path(folder), FLAGS.steps, FLAGS.seconds)
    stretches = [part(looks, start / 20, (start + 1) / 20) for start in range(4, 20)]
    if any(len(stretch) < 2 for stretch in stretches):
        raise ConfigError(f"{len(looks)} looks are too few; more --steps than {FLAGS.steps}, or fewer --seconds")
    early, late = part(looks, 0.2, 0.4), part(looks, 0.8, 1.0)
    middle = lambda name: [statistics.median(look[name] for look in those) for those in (early, late)]
    memory, files = middle("memory"), middle("files")
    paces = [throughput(stretch) for stretch in stretches]
    pieces = [statistics.mean(look["piece"] for look in stretch) for stretch in stretches]
    pace, error = drift([a * b for a, b in zip(paces, pieces, strict=True)])
    bare, bare_error = drift(paces)
    change = {"memory": memory[1] / memory[0] - 1, "steps_a_piece": pace, "error": error, "steps_per_cpu_second": bare}
    print(f"{FLAGS.steps} steps in {looks[-1]['seconds']:.0f} s, {len(looks)} looks")
    print(f"memory      {memory[0] / MB:8.1f} → {memory[1] / MB:8.1f} MB  {change['memory']:+.2%}")
    print(f"throughput  {statistics.mean(paces):8.1f} steps a CPU second, {bare:+.1%} ± {bare_error:.1%} along the run")
    print(f"  … beside the fixed work {pace:+.1%} ± {error:.1%}; its own time {drift(pieces)[0]:+.1%}")
    print(f"open files  {files[0]:8g} → {files[1]:8g}")
    flat = change["memory"] <= 0.03 and pace >= -0.03 and files[1] <= files[0]
    told = "" if pace >= -0.03 or pace + 2 * error < -0.03 else "; its throughput cannot be told from flat here"
    print(f"the run {'stayed' if flat else 'did NOT stay'} as it began{told}")
    figures = {"steps": FLAGS.steps, "flat": flat, "change": change, "open_files": files, "looks": looks}
    if FLAGS.png:
        draw(looks, stretches, FLAGS.png)
    return figures


def soak(folder: Path, steps: int, seconds: float) -> list[dict[str, float]]:
    """Runs; what was seen whenever it had got on: seconds, cpu_seconds, memory [bytes], files, step, piece."""
    kill_test.recipe(folder)
    flags_of_run = [
        f"--config.phases.0.steps={steps - 1}",
        "--config.phases.1.steps=1",
        "--config.checkpoints.every_steps=500",
        "--config.log_every=50",
    ]
    process = kill_test.start(folder, "soak", *flags_of_run)
    began, looks = time.monotonic(), [{"step": 0.0}]
    while process.poll() is None:
        pieces = []
        for _ in range(PIECES):
            time.sleep(seconds / PIECES)
            pieces.append(piece())
        found = look(process, folder / "soak")
        if found is not None and looks[-1]["step"] < found["step"] < steps - 1:
            looks.append(found | {"seconds": time.monotonic() - began, "piece": statistics.mean(pieces)})
            print(looks[-1], file=sys.stderr, flush=True)
    kill_test.finish(process)
    return looks[1:]


def piece() -> float:
    """CPU seconds that a fixed piece of work takes now."""
    start = time.process_time()
    sum(number * number for number in range(200_000))
    return time.process_time() - start


def look(process: subprocess.Popen[bytes], workdir: Path) -> dict[str, float] | None:
    """What the process is now; None before its first steps and after its last."""
    log = workdir / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").split("\n")[:-1] if log.exists() else []
    if not lines:
        return None
    try:
        status = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8")
        times = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
        files = len(os.listdir(f"/proc/{process.pid}/fd"))
    except OSError:
        return None
    return {
        "memory": int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "cpu_seconds": sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
        "files": files,
        "step": json.loads(lines[-1])["step"],
    }


def throughput(looks: list[dict[str, float]]) -> float:
    """Steps a CPU second from the first of these looks to the last."""
    first, last = looks[0], looks[-1]
    return (last["step"] - first["step"]) / (last["cpu_seconds"] - first["cpu_seconds"])


def drift(values: list[float]) -> tuple[float, float]:
    """How much a line through the values changes from the first to the last, by their mean, and the standard error."""
    places = range(len(values))
    slope, start = statistics.linear_regression(places, values)
    misses = sum((value - start - slope * place) ** 2 for place, value in zip(places, values, strict=True))
    spread = sum((place - statistics.mean(places)) ** 2 for place in places)
    of_slope = (misses / (len(values) - 2) / spread) ** 0.5
    scale = (len(values) - 1) / statistics.mean(values)
    return slope * scale, of_slope * scale


def part(looks: list[dict[str, float]], start: float, stop: float) -> list[dict[str, float]]:
    """The looks of a stretch of the run, in shares of its steps."""
    last = looks[-1]["step"] if looks else 0
    return [look for look in looks if start * last <= look["step"] <= stop * last]


def draw(looks: list[dict[str, float]], stretches: list[list[dict[str, float]]], path: str) -> None:
    """Memory and throughput along the run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, sharex=True, figsize=(6, 4), layout="constrained")
    steps = [look["step"] for look in looks]
    above.plot(steps, [look["memory"] / MB for look in looks])
    above.set_ylabel("memory [MB]")
    below.plot([stretch[0]["step"] for stretch in stretches], [throughput(stretch) for stretch in stretches], "o-")
    below.set_ylabel("steps a CPU second")
    below.set_xlabel("step")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    cli.run(main, define)

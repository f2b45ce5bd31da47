"""What attention within a window saves of a training step on the CPU, by length of row.

    python benchmarks/windows.py --json=windows.json --png=windows.png
    python benchmarks/windows.py --lengths=512 --rounds=3 --json=windows.json     # adds to the file

BERT-mini, 4 layers of 256, and so many rows as make 8,192 tokens, one document a row, 15% of the tokens predicted,
AdamW, no attention dropout. "global": every layer is global; "windows": layers 0 and 3 are, of which the last one
computes the predicted places alone, and the two others attend to 64 tokens on each side. "reference" and "masked" are
the same two by the reference kernel, which keeps all scores and hides those outside. They take turns, each in a process
of its own; a ratio is the median over the rounds. Memory is the compiler's own analysis of the step: the temporary
arrays. "reference" needs about 16 GB at 8,192 tokens. A length that the file of --json has, of the same work, is not
measured again.
"""

import dataclasses
import functools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, step_memory, training
from configuration import cli

FLAGS = flags.FLAGS
CASES = ("global", "windows", "reference", "masked")


def define() -> None:
    charts.define()
    flags.DEFINE_list("lengths", ["512", "1024", "2048", "4096", "8192"], "L, tokens in a row.")
    flags.DEFINE_list("cases", ["global", "windows"], f"Of {', '.join(CASES)}.")
    flags.DEFINE_integer("tokens", 8192, "In a step.")
    flags.DEFINE_integer("layers", 4, "n, of which every third is global.")
    flags.DEFINE_integer("width", 256, "D; heads are of 64.")
    flags.DEFINE_integer("window", 64, "Tokens to each side.")
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")


def main() -> dict[str, Any]:
    figures = read(Path(FLAGS.json)) if FLAGS.json else {}
    print(f"{'':<28}{'step':>10}{'of global':>11}{'memory':>11}")
    for length in map(int, FLAGS.lengths):
        work = training.Work(FLAGS.layers, FLAGS.width, max(1, FLAGS.tokens // length), length)
        said = {"work": dataclasses.asdict(work), "window": FLAGS.window}
        known = figures.get(str(length), {})
        if {name: known.get(name) for name in said} != said or not set(FLAGS.cases) <= set(known["cases"]):
            cases = measure(work)
            if not cases:
                continue
            figures[str(length)] = said | {"cases": cases}
            if FLAGS.json:
                cli.write_json(Path(FLAGS.json), figures)
        show(work, figures[str(length)]["cases"])
    charts.bars(
        {
            length: {name: statistics.median(case["seconds"]) for name, case in figures[length]["cases"].items()}
            for length in sorted(figures, key=int)
        },
        "seconds a step",
    )
    return figures


def read(file: Path) -> dict[str, Any]:
    """The figures that the file has; none where there is no file."""
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def measure(work: training.Work) -> dict[str, Any]:
    """Seconds a step of each turn, their ratio to those of global layers, and bytes, for each case."""
    makers = {name: functools.partial(training.ours, work, changes(name)) for name in FLAGS.cases}
    turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds)
    cases: dict[str, Any] = {name: {"seconds": turns[name]} for name in turns}
    for name, case in cases.items():
        compiled, _ = step_memory.compile_step(training.make_config(work, changes(name)), "cpu")
        case["temporary_bytes"] = compiled.memory_analysis().temp_size_in_bytes
        if "global" in turns:
            case["of_global"] = training.ratios(turns, name, "global")
    for name, reason in failed.items():
        print(f"  {name}: {reason}")
    return cases


def changes(name: str) -> dict[str, Any]:
    """The fields of the configuration that make a case."""
    windows = {"model.window": FLAGS.window, "model.global_every": 3} if name in ("windows", "masked") else {}
    kernel = {"model.kernel": "xla"} if name in ("reference", "masked") else {}
    return {"model.attention_dropout": 0.0} | windows | kernel


def show(work: training.Work, cases: dict[str, Any]) -> None:
    """Prints a line for each case."""
    print(work.name)
    for name, case in cases.items():
        ratio = f"{case['of_global']:.2f}" if "of_global" in case else ""
        milliseconds = 1e3 * statistics.median(case["seconds"])
        print(f"  {name:<26}{milliseconds:>7.0f} ms{ratio:>11}{case['temporary_bytes'] / 2**20:>7.0f} MiB", flush=True)


if __name__ == "__main__":
    cli.run(main, define)

"""Fine-tunes encoders on the tasks of a suite, beside baselines, and writes one table.

    python -m bert_jax.suite --config=configs/suites/english.py --init_from=runs/demo --workdir=runs/english
    python -m bert_jax.suite --config=configs/suites/glue.py --compare=runs/a,runs/b --workdir=runs/a_b --seeds=3

Run again, it resumes. The work folder then holds table.json and table.txt (median, lowest and highest of
the seeds, every seed, and what the paired bootstrap says of differences) and a folder for each encoder and baseline
with one for each task. --config.epochs=2 is for every task, --config.sick.epochs=2 for the one called sick.
"""

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

from bert_jax import baselines
from bert_jax.baselines import Baseline
from bert_jax.config import FineTuning, Suite
from bert_jax.finetune import (
    OF_SPLITS,
    finetune,
    opened,
    read_predictions,
    records_hash,
    spread,
    write_predictions,
)
from bert_jax.formats import folder
from bert_jax.metrics import paired_bootstrap
from bert_jax.runtime import command, distributed
from bert_jax.tasks import Task, load_task
from bert_jax.training.labelled import LabelledSet
from configuration import cli, foreign
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, nearest

TABLE, TEXT = "table.json", "table.txt"
UNTRAINED = "{}.untrained"


class System(NamedTuple):
    """Something that has been scored on a task."""

    name: str
    figures: Sequence[Mapping[str, Any]]  # of each seed
    folders: Sequence[Path]  # of each seed, with its predictions


def suite_flags() -> None:
    """--init_from, --compare, --tasks, --seeds"""
    flags.DEFINE_string("init_from", "", "The encoder: any folder that bert_jax.load opens.")
    flags.DEFINE_list("compare", [], "Encoders to compare; the first is the reference.")
    flags.DEFINE_list("tasks", [], "Names of the suite's tasks; all of them if not given.")
    flags.DEFINE_integer("seeds", 5, "Runs of each encoder on each task, each with a seed of its own.", lower_bound=1)


def main() -> dict[str, Any]:
    """The command."""
    path = Path(cli.FLAGS.config)
    suite: Suite = config_flags.read(str(path), ("tasks",), "Suite")
    tasks = read_tasks(suite, path.parent, config_flags.given(), cli.FLAGS.tasks)
    encoders = name_encoders([*filter(None, [cli.FLAGS.init_from]), *cli.FLAGS.compare])
    with distributed.processes():
        table = run(suite, tasks, encoders, Path(cli.FLAGS.workdir), cli.FLAGS.seeds)
    print(describe(table), end="")
    return table


def read_tasks(
    suite: Suite, where: Path, overrides: Mapping[str, str], only: Sequence[str] = ()
) -> dict[str, FineTuning]:
    """The tasks of a suite by name, as the command line asks for them.

    Args:
      where: the folder of the suite's file.
      overrides: dotted field → text; a field that begins with a task's name is for that task.

    Raises:
      ConfigError: a file that is no FineTuning, a duplicate or unknown name, a wrong field.
    """
    found: dict[str, FineTuning] = {}
    for member in suite.tasks:
        task = config_flags.read(str(where / member.file), ("task", "source"), "FineTuning")
        if task.name in found:
            raise ConfigError(f"the suite {suite.name} has two tasks named {task.name!r}; give each a name of its own")
        found[task.name] = config_flags.override(task, member.overrides)
    for name in only:
        if name not in found:
            raise ConfigError(f"--tasks={name}: the suite {suite.name} has no such task{nearest(name, found)}")
    of_task: dict[str, dict[str, str]] = {name: {} for name in found}
    for field, text in overrides.items():
        first, _, rest = field.partition(".")
        for name in [first] if first in found and rest else found:
            of_task[name][rest if first in found and rest else field] = text
    return {name: config_flags.override(found[name], of_task[name]) for name in found if not only or name in only}


def name_encoders(paths: Sequence[str]) -> dict[str, str]:
    """Encoders by their names in tables and folders.

    Raises:
      ConfigError: there is none, or two have the same name.
    """
    if not paths:
        raise ConfigError("there is no encoder: give --init_from=, or several with --compare=A,B")
    names = [Path(path).as_posix().strip("./").replace("/", "-") or "encoder" for path in paths]
    if len(set(names)) < len(names):
        raise ConfigError(f"--compare={','.join(paths)} names an encoder twice; give each once")
    return dict(zip(names, paths, strict=True))


def run(
    suite: Suite, tasks: Mapping[str, FineTuning], encoders: Mapping[str, str], workdir: Path, seeds: int
) -> dict[str, Any]:
    """Measures what is not measured yet; writes and returns the table.

    Raises:
      ConfigError, DataError: something that a configuration names is missing or does not fit; before any training.
    """
    for task in tasks.values():
        check(task, encoders)
    rows = {}
    for task in tasks.values():
        print(f"{task.name}:", file=sys.stderr, flush=True)
        systems = [*simple_systems(suite, task, encoders, workdir)]
        for name, path in encoders.items():
            own = dataclasses.replace(task, init_from=path)
            if suite.untrained:
                fresh = UNTRAINED.format(name)
                systems.append(tuned(fresh, dataclasses.replace(own, untrained=True), workdir, seeds))
            systems.append(tuned(name, own, workdir, seeds))
        rows[task.name] = row(load_task(task.task), systems, encoders)
    table = {"suite": suite.name, "encoders": dict(encoders), "seeds": seeds, "tasks": rows, "means": means(rows)}
    cli.write_json(workdir / TABLE, table)
    cli.write_text(workdir / TEXT, describe(table))
    return table


def check(task: FineTuning, encoders: Mapping[str, str]) -> None:
    """Raises ConfigError or DataError if a file, an encoder or an option of a task is missing."""
    try:
        load_task(task.task)
        load("data_pipeline.labelled", task.source)()
    except ValueError as error:
        raise type(error)(f"task {task.name}: {error}") from None
    for path in encoders.values():
        folder.read_model(Path(path))


def tuned(name: str, task: FineTuning, workdir: Path, seeds: int) -> System:
    """An encoder that is fine-tuned on a task."""
    own = workdir / name / task.name
    figures = finetune(task, own, seeds)["seeds"]
    return System(name, figures, [own / f"seed-{each['seed']}" if seeds > 1 else own for each in figures])


def simple_systems(suite: Suite, task: FineTuning, encoders: Mapping[str, str], workdir: Path) -> Iterator[System]:
    """The suite's baselines that serve a task."""
    wanted = {v.name: load(baselines.PACKAGE, v)() for v in suite.baselines}
    serving = {name: baseline for name, baseline in wanted.items() if task.task.name in baseline.tasks}
    if not serving:
        return
    data = opened(dataclasses.replace(task, init_from=next(iter(encoders.values()))), workdir)[0].main
    options = {v.name: config_flags.to_dict(v) for v in suite.baselines}
    for name, baseline in serving.items():
        own = workdir / name / task.name
        yield System(
            name, [simple(baseline, data, own, {"baseline": options[name], "records": records_hash(data)})], [own]
        )


def simple(baseline: Baseline, data: LabelledSet, workdir: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a baseline, whose predictions are written; read if they exist already."""
    done = workdir / "evaluation.json"
    figures = foreign.read_json(done) if done.exists() else {}
    if figures and all(figures.get(name) == value for name, value in asked.items()):
        return figures
    variant = data.labelled.task
    reader = baselines.reader(variant.name, variant.options, data.task.text)
    figures = {}
    for split in [split for split in ("dev", "test") if split in data.records]:
        records = data.records[split]
        outputs, encoded = baseline.predict(reader, data.records["train"], records)
        figures |= {f"{split}_{name}": x for name, x in data.task.scores(outputs, encoded, records).items()}
        write_predictions(workdir, split, records, data.task.answers(outputs, encoded, records))
    cli.write_json(done, figures | dict(asked))
    return figures


def row(task: Task, systems: Sequence[System], encoders: Mapping[str, str]) -> dict[str, Any]:
    """What the table says of a task: of its test examples, or of dev where it has none."""
    split = "test" if f"test_{task.main}" in systems[-1].figures[0] else "dev"
    found: dict[str, Any] = {"metric": task.main, "split": split, "systems": {}, "comparisons": []}
    for system in systems:
        names = [name for name in system.figures[0] if name.startswith(OF_SPLITS)]
        values = {name: [each[name] for each in system.figures] for name in names}
        main = values[f"{split}_{task.main}"]
        others = {name: spread(of) for name, of in values.items()}
        found["systems"][system.name] = spread(main) | {"seeds": main, "scores": others}
    if task.each is not None:
        each = {system.name: scores_of_each(task, system, split) for system in systems}
        found["examples"] = next(iter(each.values())).shape[-1 if task.statistic is None else -2]
        for first, second in pairs(list(each), list(encoders)):
            found["comparisons"].append(compare(first, second, each, task))
    return found


def scores_of_each(task: Task, system: System, split: str) -> np.ndarray:
    """float64 [n]: the score of each record, the mean over the seeds; or [seeds, n, k], the terms of the statistic."""
    assert task.each is not None
    found = []
    for own in system.folders:
        records, answers = read_predictions(own, split)
        found.append(task.each(answers, records))
    return np.mean(found, axis=0) if task.statistic is None else np.stack(found)


def pairs(systems: Sequence[str], encoders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of systems to compare: the encoders with each other, and each with all baselines."""
    for number, encoder in enumerate(encoders):
        for other in systems:
            own = other == UNTRAINED.format(encoder)
            simple = not any(other in (name, UNTRAINED.format(name)) for name in encoders)
            if own or simple or other in encoders[:number]:
                yield other, encoder


def compare(first: str, second: str, each: Mapping[str, np.ndarray], task: Task) -> dict[str, Any]:
    """The paired bootstrap of the second system against the first, on the same examples."""
    found = paired_bootstrap.compute(each[first], each[second], statistic=task.statistic)
    verdict = "better" if found["low"] > 0 else "worse" if found["high"] < 0 else "within noise"
    numbers = {name: found[name] for name in ("difference", "low", "high", "p")}
    return {"first": first, "second": second, "score": task.each_name, **numbers, "verdict": verdict}


def means(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The mean of the medians of each system that serves every task."""
    tables = [found["systems"] for found in rows.values()]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    return {name: float(np.mean([table[name]["median"] for table in tables])) for name in shared}


def describe(table: Mapping[str, Any]) -> str:
    """The table as text."""
    lines = [f"{table['suite']}, {table['seeds']} seeds"]
    for name, found in table["tasks"].items():
        examples = f", {found['examples']:,} examples" if "examples" in found else ""
        title = f"{name}: {found['metric']} on {found['split']}{examples}"
        lines += ["", f"{title:52}{'median':>9}{'lowest':>9}{'highest':>9}   every seed"]
        for system, own in found["systems"].items():
            seeds = " ".join(f"{x:.4f}" for x in own["seeds"])
            lines.append(f"  {system:50}{own['median']:9.4f}{own['min']:9.4f}{own['max']:9.4f}   {seeds}")
        lines += [f"  {compared(each)}" for each in found["comparisons"]]
    if len(table["tasks"]) > 1:
        lines += ["", f"mean of the medians of {len(table['tasks'])} tasks"]
        lines += [f"  {name:50}{value:9.4f}" for name, value in table["means"].items()]
    return "\n".join(lines) + "\n"


def compared(found: Mapping[str, Any]) -> str:
    """A comparison as a sentence."""
    range_of = f"95% interval {found['low']:+.4f} to {found['high']:+.4f}, p = {found['p']:.2g}"
    difference = f"{found['score']} {found['difference']:+.4f}, {range_of}"
    if found["verdict"] == "within noise":
        return f"{found['second']} and {found['first']} differ within noise: {difference}"
    return f"{found['second']} is {found['verdict']} than {found['first']}: {difference}"


if __name__ == "__main__":
    flags_of_run = (config_flags.suite_flag, cli.workdir_flag, suite_flags, distributed.distributed_flags)
    cli.run(command.computing(main), *flags_of_run)

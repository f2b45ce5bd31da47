"""Which idea of pretraining pays, of nine from single tokens to ELECTRA, at equal compute.

    python -m data_pipeline.prepare --config=configs/demo.py --config.data.annotations=capitals --output=stores/words
    python -m data_pipeline.frequent_phrases --store=stores/words --output=stores/phrases.txt
    python -m data_pipeline.prepare --config=configs/demo.py \\
        --config.data.annotations=capitals,capital_letters,sentence_starts,phrases \\
        --config.data.annotations.3.file=stores/phrases.txt --output=stores/english
    python benchmarks/which_idea_pays.py --store=stores/english --folder=runs/ideas --png=ideas.png \\
        --config.polarity.source.train=sentence_polarity.zip --config.learning_rate=3e-4 …

One small encoder is pretrained with each idea and each seed, and judged by its held-out loss at BERT's masks, 15% of
the single tokens of full-sentence rows, and by fine-tuning on each task, one seed of fine-tuning for each of
pretraining; the last weights count. Beside them stand the encoder untrained and baselines without one. All ideas have
the same rate of masks, learning rates, compute and, but for the pairs that ERNIE 2.0's tasks are about, rows. Compute
is what --steps updates of tokens need, in FLOPs, or with --compute=cpu in CPU seconds. A difference to tokens counts
where the seeds' ranges lie apart, three of each at least, and the paired bootstrap over the task's examples says the
same; else it is called noise.

--chinese_store adds Chinese, with --chinese_tasks. --config.TASK.FIELD changes a task, --config.FIELD all of them. Each
training is one process, one after the other, kept in --folder and not done again: stop at any moment, and run again.
Where FLOPs are counted, start it twice, under `taskset -c 0` and `taskset -c 1`: the two share the trainings.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, trainings
from benchmarks.ideas import BASELINE, SIZES, Idea, Lists, check, ideas, step_flops, training
from benchmarks.kept import alone, in_own_process, measured, shared
from bert_jax import suite
from bert_jax.config import Config, FineTuning, Member, Suite
from bert_jax.runtime import compilation_cache
from bert_jax.tasks import load_task
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError
from data_pipeline.store import Store

FLAGS = flags.FLAGS
ENGLISH = ("polarity", "conll2000", "sick_entailment", "sick_relatedness")
CHINESE = ("chnsenticorp", "lcqmc")
NAMES = tuple(ideas(Lists("", "capitals")))
UNTRAINED, HELD_OUT = "untrained", "held-out loss"
FEWEST = 3  # seeds, below which every difference is noise


class Language(NamedTuple):
    """A store, what is trained on it, and how that is judged."""

    name: str
    store: Store
    lists: Lists
    chosen: dict[str, Idea]
    tasks: dict[str, FineTuning]
    folder: Path


def define() -> None:
    files = lambda tasks: [f"configs/tasks/{task}.py" for task in tasks]
    flags.DEFINE_string("store", "", "A prepared English store; without it there is Chinese alone.")
    flags.DEFINE_string("chinese_store", "", "A prepared Chinese store.")
    flags.DEFINE_list("ideas", list(NAMES), f"Which, of {', '.join(NAMES)}; {BASELINE} is always there.")
    flags.DEFINE_list("chinese_ideas", [BASELINE, "words"], "Which for Chinese.")
    flags.DEFINE_list("tasks", files(ENGLISH), "Files of tasks.")
    flags.DEFINE_list("chinese_tasks", files(CHINESE), "Files of Chinese tasks.")
    flags.DEFINE_string("folder", None, "What is trained and measured is kept here.", required=True)
    flags.DEFINE_integer("seeds", 3, "Pretrainings with each idea.", lower_bound=1)
    flags.DEFINE_integer("steps", 10_000, f"Updates of {BASELINE}; the others get as much compute.", lower_bound=1)
    flags.DEFINE_enum("compute", "flops", ["flops", "cpu"], "What is equal: FLOPs of matrix products, or CPU seconds.")
    flags.DEFINE_enum("size", "demo", list(SIZES), "The encoder: that of configs/demo.py, or one of width 64.")
    flags.DEFINE_float("learning_rate", 1e-3, "The peak of every pretraining.", lower_bound=0)
    flags.DEFINE_string("similar", "", "A table by data_pipeline.similar_words; if not given, one is made in --folder.")
    flags.DEFINE_enum("names", "capitals", ["capitals", "names"], "ERNIE's last stage: the annotation of names.")
    charts.define()
    for flag in ("ideas", "chinese_ideas"):
        flags.register_validator(flag, lambda chosen: set(chosen) <= set(NAMES), f"of {', '.join(NAMES)}")


def main() -> dict[str, Any]:
    languages = opened()
    found = {language.name: judged(language) for language in languages}
    for name, figures in found.items():
        print(describe(name, figures))
    if FLAGS.png:
        draw(found)
    return found


def opened() -> list[Language]:
    """The languages that are asked for, checked before anything is trained.

    Raises:
      ConfigError, DataError: no store, or one that lacks an annotation; a task whose files are not there.
    """
    given = {
        "english": (FLAGS.store, FLAGS.ideas, FLAGS.tasks),
        "chinese": (FLAGS.chinese_store, FLAGS.chinese_ideas, FLAGS.chinese_tasks),
    }
    wanted = {name: each for name, each in given.items() if each[0]}
    if not wanted:
        raise ConfigError("there is no text: give --store=, --chinese_store= or both")
    files = [Path(file).absolute() for _, _, files in wanted.values() for file in files]
    every = Suite("ideas", tuple(Member(str(file)) for file in dict.fromkeys(files)))
    tasks = suite.read_tasks(every, Path(), {"evaluations": "1"} | config_flags.given())
    for task in tasks.values():
        suite.check(task, {})
    found = []
    for name, (path, chosen, own) in wanted.items():
        store, folder = Store.open(path), Path(FLAGS.folder).absolute() / name
        names = [config_flags.read(file, ("task", "source"), "FineTuning").name for file in own]
        lists = Lists(FLAGS.similar or str(folder / "similar.npz"), FLAGS.names)
        if "macbert" in chosen:
            make_similar(store, Path(lists.similar))
        known = ideas(lists)
        ones = {each: known[each] for each in known if each in chosen or each == BASELINE}
        for each, idea in ones.items():
            check(each, training(each, idea, store, FLAGS.size, FLAGS.learning_rate), store)
        found.append(Language(name, store, lists, ones, {each: tasks[each] for each in names}, folder))
    return found


def make_similar(store: Store, path: Path) -> None:
    """Writes the table of similar words of a store, if it is not there."""
    with alone(path):
        if path.exists():
            return
        command = [sys.executable, "-m", "data_pipeline.similar_words", f"--store={store.path}", f"--output={path}"]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
            raise ConfigError(f"{path} could not be made; give a table by --similar=, or leave macbert out of --ideas")


def judged(language: Language) -> dict[str, Any]:
    """Everything that is asked for, measured where it is not there yet."""
    configs = {name: budgeted(language, name, idea) for name, idea in language.chosen.items()}
    every = [(name, seed) for name in configs for seed in range(FLAGS.seeds)]
    done = shared([functools.partial(pretrained, language, configs[name], seed) for name, seed in every])
    runs = {name: [run for run, (of, _) in zip(done, every, strict=True) if of == name] for name in configs}
    tasks = language.tasks.values()
    shared([job for task in tasks for own in tunings(language, task, runs).values() for job in own])
    systems: dict[str, Any] = {
        name: {
            "steps": configs[name].steps,
            "flops": step_flops(configs[name]) * configs[name].steps,
            "train_seconds": statistics.median(run["train_seconds"] for run in runs[name]),
            "paper": idea.claim,
            "scores": {},
        }
        for name, idea in language.chosen.items()
    }
    add_held_out(systems, runs)
    for task in tasks:
        add_task(systems, language, task, runs)
    return {
        "seeds": FLAGS.seeds,
        "size": FLAGS.size,
        "compute": FLAGS.compute,
        "tasks": {name: load_task(task.task).main for name, task in language.tasks.items()},
        "systems": systems,
    }


def budgeted(language: Language, name: str, idea: Idea) -> Config:
    """The pretraining of an idea, with the updates that it can have for those of tokens."""
    one = lambda name, idea, steps: training(name, idea, language.store, FLAGS.size, FLAGS.learning_rate, steps)
    first, own = one(BASELINE, language.chosen[BASELINE], FLAGS.steps), one(name, idea, FLAGS.steps)
    cost = step_flops if FLAGS.compute == "flops" else functools.partial(step_seconds, language)
    times = cost(first) / cost(own)
    return one(name, idea, round(FLAGS.steps * times))


def step_seconds(language: Language, config: Config) -> float:
    """CPU seconds of an update, the mean over the run."""
    total = 0.0
    for stage, phase in enumerate(config.phases):
        one = dataclasses.replace(config, phases=(dataclasses.replace(phase, steps=1),))
        path = language.folder / f"pace-{config.name}-{stage}-{FLAGS.size}.json"
        found = measured(path, {"config": config_flags.to_dict(one)}, in_own_process, trainings.pace, one)
        total += phase.steps * found["step_seconds"]
    return total / sum(phase.steps for phase in config.phases)


def pretrained(language: Language, config: Config, seed: int, wait: bool = True) -> dict[str, Any]:
    """What one pretraining found, and its work folder."""
    config = dataclasses.replace(config, seed=seed)
    asked = {"config": config_flags.to_dict(config), "store": language.store.fingerprint}
    workdir = folder_for(language.folder / f"{config.name}-{seed}", asked)
    found = measured(workdir.with_suffix(".json"), asked, in_own_process, pretrain, config, workdir, wait=wait)
    return found | {"workdir": str(workdir)}


def folder_for(path: Path, asked: Mapping[str, Any]) -> Path:
    """A work folder for these settings: what was done with others stays beside it."""
    return path.with_name(f"{path.name}-{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]}")


def pretrain(config: Config, workdir: Path) -> dict[str, Any]:
    """Trains, and takes the held-out loss where there is a head for it."""
    from bert_jax.checkpoints.manager import restore_params
    from bert_jax.evaluators import masked_language
    from bert_jax.runtime import precision
    from bert_jax.train import train

    keep_compiled()
    config = precision.settled(config, workdir)
    last = train(config, workdir)
    figures = {"train_seconds": last["train_seconds"], "train_loss": last["loss"]}
    if masked_language.unsupported(config):
        return figures
    evaluator = masked_language.build(config, Store.open(config.data.store), None)
    return figures | evaluator.evaluate(restore_params(workdir)[1])


def tunings(
    language: Language, task: FineTuning, runs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, list[Callable[..., dict[str, Any]]]]:
    """`tuned` of each encoder and seed, by idea, and of the encoder untrained."""
    of = lambda run, seed, untrained: functools.partial(tuned, language, task, run, seed, untrained)
    found = {name: [of(run, seed, False) for seed, run in enumerate(own)] for name, own in runs.items()}
    return found | {UNTRAINED: [of(run, seed, True) for seed, run in enumerate(runs[BASELINE])]}


def tuned(
    language: Language, task: FineTuning, run: Mapping[str, Any], seed: int, untrained: bool, wait: bool = True
) -> dict[str, Any]:
    """What `bert_jax.finetune` found of one encoder, and the folder with its predictions."""
    of = f"{UNTRAINED}-{seed}" if untrained else Path(run["workdir"]).name
    task = dataclasses.replace(task, init_from=run["workdir"], seed=seed, untrained=untrained)
    asked = {"task": config_flags.to_dict(task)}
    workdir = folder_for(language.folder / "tuned" / f"{of}-{task.name}", asked)
    found = measured(workdir.with_suffix(".json"), asked, in_own_process, finetuned, task, workdir, wait=wait)
    return found | {"workdir": str(workdir)}


def finetuned(task: FineTuning, workdir: Path) -> dict[str, Any]:
    """`bert_jax.finetune` with one seed, whose predictions stay and whose weights, gigabytes in all, do not."""
    from bert_jax import finetune

    keep_compiled()
    (found,) = finetune.finetune(task, workdir, seeds=1)["seeds"]
    for weights in ("checkpoints", "huggingface"):
        shutil.rmtree(workdir / weights, ignore_errors=True)
    return {"found": found}


def keep_compiled() -> None:
    """The same programs serve every seed: they are compiled once, as the commands do."""
    folder = os.environ.get(compilation_cache.VARIABLE) or str(compilation_cache.default_folder())
    compilation_cache.start(folder)


def add_held_out(systems: dict[str, Any], runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The held-out losses, and beside them that of the tokens' shares alone."""
    losses = {name: [run["eval_loss"] for run in own if "eval_loss" in run] for name, own in runs.items()}
    for name, own in losses.items():
        if own:
            systems[name]["scores"][HELD_OUT] = beside(own, losses[BASELINE], name, lower_is_better=True)
    shares = [run["unigram_loss"] for run in runs[BASELINE]]
    systems["unigram"] = {"scores": {HELD_OUT: beside(shares, losses[BASELINE], "unigram", lower_is_better=True)}}


def add_task(
    systems: dict[str, Any], language: Language, task: FineTuning, runs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """The scores on a task: of each idea, of the encoder untrained, and of baselines without one."""
    known = load_task(task.task)
    tuned_by = {name: [job() for job in own] for name, own in tunings(language, task, runs).items()}
    measured_on = [
        suite.System(name, [run["found"] for run in own], [Path(run["workdir"]) for run in own])
        for name, own in tuned_by.items()
    ]
    encoder = {BASELINE: runs[BASELINE][0]["workdir"]}
    measured_on += suite.simple_systems(Suite("", (Member(""),)), task, encoder, language.folder / "baselines")
    split = "test" if f"test_{known.main}" in measured_on[0].figures[0] else "dev"
    scores = {each.name: [found[f"{split}_{known.main}"] for found in each.figures] for each in measured_on}
    answers = {each.name: suite.scores_of_each(known, each, split) for each in measured_on} if known.each else {}
    for name, own in scores.items():
        paired = suite.compare(BASELINE, name, answers, known) if answers and name != BASELINE else {}
        systems.setdefault(name, {"scores": {}})["scores"][task.name] = beside(own, scores[BASELINE], name, paired)


def beside(
    own: Sequence[float],
    tokens: Sequence[float],
    name: str,
    paired: Mapping[str, Any] | None = None,
    lower_is_better: bool = False,
) -> dict[str, Any]:
    """Median and range of the seeds, and what is to be said of their difference to tokens.

    Args:
      paired: what `suite.compare` found, if there is anything to be paired.
    """
    found = {"seeds": list(own), **{"median": statistics.median(own), "min": min(own), "max": max(own)}}
    if name == BASELINE:
        return found
    sign = -1 if lower_is_better else 1
    difference = float(np.median(own) - np.median(tokens))
    apart = min(own) > max(tokens) or max(own) < min(tokens)
    fixed = name not in NAMES and len(set(own)) == 1  # a baseline has no seeds
    enough = len(tokens) >= FEWEST and (fixed or len(own) >= FEWEST)
    direction = "better" if sign * difference > 0 else "worse"
    agreed = not paired or paired["verdict"] == direction  # the examples may be scored by another figure than the task
    verdict = direction if apart and enough and agreed else "noise"
    return {**found, "difference": difference, "verdict": verdict, "paired": dict(paired or {})}


def describe(language: str, figures: Mapping[str, Any]) -> str:
    """The table, and what the papers say."""
    compute = {"flops": "FLOPs", "cpu": "CPU seconds"}[figures["compute"]]
    columns = {HELD_OUT: HELD_OUT, **{task: f"{task}, {metric}" for task, metric in figures["tasks"].items()}}
    lines = [
        f"{language}: encoder {figures['size']}, equal {compute}, seeds: {figures['seeds']}; median (range)",
        f"{'':14}{'steps':>8}{'seconds':>9}  " + "".join(f"{title:34}" for title in columns.values()).rstrip(),
    ]
    for name, system in figures["systems"].items():
        cells = "".join(f"{cell(system['scores'].get(column)):34}" for column in columns)
        steps, seconds = (f"{system[field]:.0f}" if field in system else "" for field in ("steps", "train_seconds"))
        lines.append(f"{name:14}{steps:>8}{seconds:>9}  {cells}".rstrip())
    claims = [f"  {name:12}{of['paper']}" for name, of in figures["systems"].items() if "paper" in of]
    return "\n".join([*lines, "what the papers found:", *claims])


def cell(found: Mapping[str, Any] | None) -> str:
    """A figure of the table."""
    if found is None:
        return "–"
    spread = "" if found["min"] == found["max"] else f" ({found['min']:.4f}–{found['max']:.4f})"
    return f"{found['median']:.4f}{spread} {found.get('verdict', '')}"


def draw(languages: Mapping[str, Mapping[str, Any]]) -> None:
    """A panel for each language and figure: a dot for each seed of each encoder, a line at the median of tokens."""
    panels = [
        (language, column, figures["systems"])
        for language, figures in languages.items()
        for column in (HELD_OUT, *figures["tasks"])
    ]
    figure, axes = charts.picture(3.2 * len(panels), len(panels))
    for side, (language, column, systems) in zip(axes, panels, strict=True):
        encoders = {name: of["scores"] for name, of in systems.items() if name in (*NAMES, UNTRAINED)}
        shown = {name: scores[column] for name, scores in encoders.items() if column in scores}
        for place, of in enumerate(shown.values()):
            side.plot(of["seeds"], [place] * len(of["seeds"]), "o", color="#1f5fbf", markersize=4)
        side.axvline(shown[BASELINE]["median"], color="#8a8577", linewidth=0.8)
        side.set_yticks(range(len(shown)), list(shown))
        side.invert_yaxis()
        side.set_title(f"{language}: {column}", loc="left", fontsize=9)
    charts.save(figure, FLAGS.png)


if __name__ == "__main__":
    cli.run(main, define)

"""What does one change to a recipe bring, in equal time?

    python benchmarks/one_change.py --store=runs/demo/store --folder=runs/one_change --json=one_change.json \\
        --change='best_fit: data.rows=best_fit' --change='bert: model.positions=absolute model.norm=post'

A change is a name and the fields that it sets. Each is trained with every seed for as many steps as fit into the CPU
time of the recipe as it is, whose steps --steps gives: the time of a step is that of all threads together, the least of
several, so that other work on the machine hardly counts. All are evaluated alike, on full sentences. A change is called
better or worse if its seeds lie apart from those of the recipe, and else noise. What is done is kept in --folder.
"""

import dataclasses
from typing import Any

from absl import flags
from charts import picture, save
from trainings import FLAGS, main, number, over_seeds, step_seconds

from bert_jax.config import Config
from configuration import flags as config_flags
from configuration.variants import ConfigError
from data_pipeline.store import Store

flags.DEFINE_string("recipe", "configs/demo.py", "The recipe that is changed.")
flags.DEFINE_multi_string("change", [], "Name and fields, 'NAME: FIELD=VALUE …'; once for each change.")
flags.DEFINE_integer("steps", 0, "Of the recipe as it is; 0 for those of its first phase.", 0)
UNCHANGED = "as it is"


def benchmark() -> dict[str, Any]:
    changes: dict[str, dict[str, str]] = {UNCHANGED: {}} | dict(map(parsed, FLAGS.change))
    configs = {name: recipe(fields) for name, fields in changes.items()}
    pace = {name: step_seconds(name, config) for name, config in configs.items()}
    figures = {}
    for name, config in configs.items():
        steps = round(config.phases[0].steps * pace[UNCHANGED] / pace[name])
        found = over_seeds(f"{name}-{steps}", of_steps(config, steps))
        figures[name] = found | {"fields": changes[name], "steps": steps, "step_seconds": pace[name]}
    for figure in figures.values():
        figure["verdict"] = verdict(figure["losses"], figures[UNCHANGED]["losses"])
    print(f"{'':<24}{'CPU ms':>8}{'steps':>7}{'held-out':>10}{'lowest':>9}{'highest':>9}")
    for name, f in figures.items():
        ends = (min(f["losses"]), max(f["losses"])) if f["mean"] is not None else (None, None)
        row = f"{name:<24}{1e3 * f['step_seconds']:>8.1f}{f['steps']:>7}{number(f['mean']):>10}"
        print(row + "".join(f"{number(x):>9}" for x in ends) + f"  {f['verdict']}")
    if FLAGS.png:
        draw(figures)
    return {"recipe": FLAGS.recipe, "changes": figures}


def parsed(change: str) -> tuple[str, dict[str, str]]:
    """`NAME: FIELD=VALUE …` → the name, and the values by field.

    Raises:
      ConfigError: it is of another form, or has the name of the recipe unchanged.
    """
    name, colon, fields = change.partition(":")
    pairs = [field.partition("=") for field in fields.split()]
    if not name or not colon or not pairs or not all(equals for _, equals, _ in pairs) or name == UNCHANGED:
        raise ConfigError(f"--change={change!r}: expected 'NAME: FIELD=VALUE …'")
    return name, {field: value for field, _, value in pairs}


def recipe(fields: dict[str, str]) -> Config:
    """The recipe on the store, of one phase, with its fields set and without checkpoints on the way."""
    config = config_flags.read(FLAGS.recipe)
    size = {"data.store": FLAGS.store, "model.vocab_size": str(Store.open(FLAGS.store).vocab_size)}
    rest = {"checkpoints.every_steps": "1000000000", "checkpoints.keep": "1", "evaluation.single_mask_rows": "1"}
    config = config_flags.override(config, size | rest | fields)
    return of_steps(config, FLAGS.steps or config.phases[0].steps)


def of_steps(config: Config, steps: int) -> Config:
    """The recipe's first phase alone, so long."""
    phase = dataclasses.replace(config.phases[0], steps=steps)
    return dataclasses.replace(config, phases=(phase,), log_every=max(1, steps // 20))


def verdict(losses: list[float | None], base: list[float | None]) -> str:
    """Whether the seeds of a change lie apart from those of the recipe."""
    mine = [x for x in losses if x is not None]
    theirs = [x for x in base if x is not None]
    if losses is base or not mine or not theirs:
        return ""
    if len(mine) < len(losses) or min(mine) > max(theirs):
        return "worse"
    return "better" if max(mine) < min(theirs) else "noise"


def draw(figures: dict[str, Any]) -> None:
    """Held-out losses, a dot for each seed."""
    figure, (side,) = picture(8.0)
    for place, f in enumerate(figures.values()):
        losses = [x for x in f["losses"] if x is not None]
        side.plot(losses, [place] * len(losses), "o", color="#1f5fbf", markersize=5)
    side.set_yticks(range(len(figures)), list(figures))
    side.invert_yaxis()
    side.set_title("Held-out loss in equal time, nat, a dot for each seed", loc="left", fontsize=10)
    save(figure, FLAGS.png)


if __name__ == "__main__":
    main(benchmark)

"""Does a model trained on short rows read longer ones? Perplexity at 128 … 2,048 tokens after training at 128.

    python -m data_pipeline.prepare --config=configs/demo.py --config.data.tokenizer.vocab_size=2000 --output=runs/small
    python benchmarks/extrapolation.py --store=runs/small --json=extrapolation.json --png=extrapolation.png

The claim of NEZHA (Wei et al. 2019, section 3.1): functional relative positions reach rows longer than any seen in
training, learned absolute ones do not. RoFormer (Su et al. 2021) claims it of rotary positions, and windows keep most
layers at distances that they know. A small model is trained for each scheme and seed, then evaluated on held-out text
in rows of growing length, about as many tokens at each. Rows run across documents without isolation, so that a row of
2,048 tokens has 2,048 positions. Rows of the absolute table that no training row reaches are as BERT starts them;
"another base" is rotary's base, changed after training for rows beyond those of training, as one does before going on
with longer rows. Shown is exp of the mean cross-entropy at places that show [MASK], median and range of the seeds.
"""

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bert_jax.config import Checkpoints, Config, Data, Evaluation, Model, Phase
from configuration import cli
from configuration.variants import use
from data_pipeline.store import Store

FLAGS = flags.FLAGS
SHORT = 128  # tokens of a training row
LENGTHS = (128, 256, 512, 1024, 2048)
LOCAL = {"window": 32, "global_every": 2}  # of the second layer
WINDOWS, OTHER_BASE = ", windows", ", another base"  # ends of names
SCHEMES: dict[str, dict[str, Any]] = {
    "absolute": {"positions": use("absolute")},
    "functional-relative": {"positions": use("functional_relative")},
    "functional-relative, clipped at 64": {"positions": use("functional_relative", max_distance=64)},
    "rotary": {"positions": use("rotary")},
    f"functional-relative{WINDOWS}": {"positions": use("functional_relative"), **LOCAL},
    f"rotary{WINDOWS}": {"positions": use("rotary"), **LOCAL},
}
BASE = 160_000.0  # of rotary positions, for rows longer than those of training


def define() -> None:
    flags.DEFINE_string("store", None, "Prepared store.", required=True)
    flags.DEFINE_multi_enum("scheme", list(SCHEMES), list(SCHEMES), "Position schemes.")
    flags.DEFINE_integer("steps", 1000, "Updates of each training.", lower_bound=1)
    flags.DEFINE_integer("seeds", 3, "Trainings of each scheme.", lower_bound=1)
    flags.DEFINE_integer("tokens", 32 * 1024, "Held-out tokens at each length.", lower_bound=LENGTHS[-1])
    flags.DEFINE_string("png", "", "Also draw the curves into this file.")


def main() -> dict[str, Any]:
    print(f"{'perplexity at':<36}" + "".join(f"{length:>16}" for length in LENGTHS))
    figures = {}
    for name in FLAGS.scheme:
        found = [perplexities(SCHEMES[name], seed) for seed in range(FLAGS.seeds)]
        for how in found[0]:
            curves = np.array([each[how] for each in found])
            cells = zip(np.median(curves, 0), curves.min(0), curves.max(0), strict=True)
            line = "".join(f"{f'{m:.0f} ({a:.0f}–{b:.0f})':>16}" for m, a, b in cells)
            print(f"{name + how:<36}{line}", flush=True)
            figures[name + how] = curves.tolist()
    if FLAGS.png:
        draw(figures, FLAGS.png)
    return {"steps": FLAGS.steps, "trained_at": SHORT, "lengths": LENGTHS, "perplexities": figures}


def perplexities(changes: dict[str, Any], seed: int) -> dict[str, list[float]]:
    """At each of LENGTHS, after a training of its own; for rotary positions, also with another base."""
    from bert_jax.checkpoints.manager import restore_params
    from bert_jax.train import train
    from bert_jax.training.setup import open_store

    config = configuration(changes, seed)
    with tempfile.TemporaryDirectory() as folder:
        train(config, Path(folder))
        _, params, _ = restore_params(Path(folder))
        store = open_store(config, Path(folder))
    params = forget_untrained(config.model, params, seed)
    models = {"": config.model}
    if config.model.positions.name == "rotary":
        local = {"local_base": 10_000.0} if config.model.window else {}
        models[OTHER_BASE] = dataclasses.replace(config.model, positions=use("rotary", base=BASE, **local))
    return {how: on_held_out(dataclasses.replace(config, model=model), store, params) for how, model in models.items()}


def on_held_out(config: Config, store: Store, params: dict) -> list[float]:
    """Perplexity at each of LENGTHS."""
    from bert_jax.evaluators.masked_language import at_masks
    from bert_jax.objectives import mlm
    from bert_jax.training.setup import vocabulary_of

    objective = mlm.build(config.model, vocabulary_of(store))
    losses = []
    for length in LENGTHS:
        rows = Evaluation(length=length, batch_size=8192 // length, max_rows=FLAGS.tokens // length)
        figures = at_masks(dataclasses.replace(config, evaluation=rows), store, objective)(params)
        losses.append(figures["mask_loss"])
    return np.exp(losses).tolist()


def configuration(changes: dict[str, Any], seed: int) -> Config:
    """A model that learns something in a few minutes."""
    model = Model(
        vocab_size=Store.open(FLAGS.store).vocab_size,
        layers=2,
        width=128,
        heads=4,
        mlp_width=512,
        max_length=LENGTHS[-1],
        init=use("neighbours", columns=32),
        isolate_documents=False,
        dropout=0.0,
        attention_dropout=0.0,
        **changes,
    )
    phase = Phase(FLAGS.steps, SHORT, 8, 8e-3, schedule=use("wsd", warmup=0.1, decay=0.4))
    return Config(
        "extrapolation",
        (phase,),
        data=Data(store=FLAGS.store),
        model=model,
        objective=use("mlm", mask_rate=0.3),
        optimizer=use("lamb", variant="nvidia", b2=0.98),
        unigram_bias=True,
        seed=1000 * seed,
        checkpoints=Checkpoints(every_steps=FLAGS.steps),
    )


def forget_untrained(model: Model, params: dict, seed: int) -> dict:
    """The parameters with BERT's own start in the rows of the position table that no training row reached."""
    import jax

    from bert_jax.modeling import bert

    if model.positions.name != "absolute":
        return params
    plain = bert.init(dataclasses.replace(model, init=use("normal")), jax.random.key(seed))
    fresh = plain["embeddings"]["position"]["embedding"]
    table = params["embeddings"]["position"]["embedding"].at[SHORT:].set(fresh[SHORT:])
    return params | {"embeddings": params["embeddings"] | {"position": {"embedding": table}}}


def scheme_of(name: str) -> str:
    """The position scheme in a name, without windows and base."""
    return name.removesuffix(OTHER_BASE).removesuffix(WINDOWS)


def draw(figures: dict[str, Any], file: str) -> None:
    """Median and range of each scheme; dashed with windows, dotted with another base."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5.5))
    colors: dict[str, str] = {}
    ends: dict[str, float] = {}
    for name, seeds in figures.items():
        curves = np.array(seeds)
        middle = np.median(curves, 0)
        color = colors.setdefault(scheme_of(name), f"C{len(colors)}")
        style = ":" if OTHER_BASE in name else "--" if WINDOWS in name else "-"
        reach = (middle - curves.min(0), curves.max(0) - middle)
        axes.errorbar(LENGTHS, middle, reach, fmt=f"o{style}", color=color, markersize=4, linewidth=1.3, elinewidth=0.8)
        ends[name] = middle[-1]
    axes.set_yscale("log")
    axes.set_xscale("log", base=2)
    axes.set_yticks(
        [80, 100, 150, 200, 300, 500, 1000, 2000], ["80", "100", "150", "200", "300", "500", "1000", "2000"]
    )
    axes.minorticks_off()
    axes.set_xticks(LENGTHS, list(map(str, LENGTHS)))
    axes.axvline(SHORT, color="gray", linestyle=":")
    axes.annotate("trained here", (SHORT, axes.get_ylim()[1]), xytext=(4, -12), textcoords="offset points")
    axes.set_xlabel("tokens in a row")
    axes.set_ylabel("held-out perplexity at [MASK]")
    place = 0.0
    for name, end in sorted(ends.items(), key=lambda item: item[1]):
        place = max(place * 1.12, end)  # no two names on one line
        at = (LENGTHS[-1] * 1.17, place)
        axes.annotate(name, at, color=colors[scheme_of(name)], fontsize=8.5, annotation_clip=False)
    figure.tight_layout()
    figure.subplots_adjust(right=0.74)
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    cli.run(main, define)

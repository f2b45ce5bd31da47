"""LAMB's claim in small: does it hold its loss where the batch grows and AdamW, by the same rule, does not?

    python benchmarks/lamb_batches.py --folder=runs/lamb_batches --store=runs/demo/store --png=docs/lamb_batches.png

The learning rate of each is tuned at the smallest batch and grows with the square root of the batch (You et al. 2019,
section 4); every run sees the same number of rows. Warm-up is a tenth of the steps at the smallest batch, and doubles
with each fourfold batch, up to four tenths.
"""

from typing import Any

from absl import flags
from charts import picture, save
from trainings import FLAGS, main, number, over_seeds, small, tuned

from bert_jax.config import Config, Phase
from configuration.variants import Variant, use
from data_pipeline.store import Store

OPTIMIZERS = {
    "lamb": (use("lamb", variant="nvidia", b2=0.98), (4e-3, 8e-3, 1.6e-2)),
    "adamw": (use("adamw", b2=0.98), (1e-3, 2e-3, 4e-3)),
}

flags.DEFINE_list("batches", ["32", "128", "512", "2048"], "Rows; the first is the one that is tuned.")
flags.DEFINE_integer("rows", 65_536, "Rows that every run sees.")
flags.DEFINE_integer("length", 32, "Tokens in a row.")


def benchmark() -> dict[str, Any]:
    store, batches = Store.open(FLAGS.store), [int(b) for b in FLAGS.batches]
    results: dict[str, dict[int, Any]] = {}
    rates: dict[str, Any] = {}
    for name, (optimizer, candidates) in OPTIMIZERS.items():
        rate, losses = tuned(
            f"{name}-{batches[0]}", candidates, lambda r, o=optimizer: recipe(store, o, r, batches[0], batches[0])
        )
        rates[name] = {"best": rate, "losses": {str(r): loss for r, loss in losses.items()}}
        results[name] = {
            b: over_seeds(f"{name}-batch{b}", recipe(store, optimizer, rate * (b / batches[0]) ** 0.5, b, batches[0]))
            for b in batches
        }
        print(f"{name}: tuned at {batches[0]} rows: " + ", ".join(f"{r:g} → {number(x)}" for r, x in losses.items()))
    print(f"\n{'':<8}{'batch':>7}{'steps':>7}{'rate':>10}{'held-out':>11}{'spread':>9}{'above ' + str(batches[0]):>10}")
    for name, by_batch in results.items():
        for b, figures in by_batch.items():
            rate = rates[name]["best"] * (b / batches[0]) ** 0.5
            above = "" if figures["mean"] is None else f"{figures['mean'] / by_batch[batches[0]]['mean'] - 1:+.1%}"
            spread = "" if figures["spread"] is None else f"{figures['spread']:.4f}"
            print(
                f"{name:<8}{b:>7}{FLAGS.rows // b:>7}{rate:>10.2g}{number(figures['mean']):>11}{spread:>9}{above:>10}"
            )
    if FLAGS.png:
        draw(results)
    return {
        "rows": FLAGS.rows,
        "rates": rates,
        "results": {n: {str(b): f for b, f in r.items()} for n, r in results.items()},
    }


def recipe(store: Store, optimizer: Variant, rate: float, batch: int, base: int) -> Config:
    """A training at one batch size."""
    warmup = min(0.1 * (batch / base) ** 0.5, 0.4)
    schedule = use("linear", warmup=warmup)
    phase = Phase(
        steps=FLAGS.rows // batch, length=FLAGS.length, batch_size=batch, learning_rate=rate, schedule=schedule
    )
    return small(store, phase, optimizer=optimizer)


def draw(results: dict[str, dict[int, Any]]) -> None:
    """Held-out loss over the batch; a bar from the lowest to the highest seed."""
    figure, (axes,) = picture()
    for (name, by_batch), colour in zip(results.items(), ("#1f5fbf", "#a85508"), strict=True):
        whole = {b: f for b, f in by_batch.items() if f["mean"] is not None}
        means = [f["mean"] for f in whole.values()]
        bars = [
            [f["mean"] - min(f["losses"]) for f in whole.values()],
            [max(f["losses"]) - f["mean"] for f in whole.values()],
        ]
        axes.errorbar(list(whole), means, yerr=bars, color=colour, marker="o", capsize=4, label=name)
        axes.axhline(1.03 * means[0], color=colour, linewidth=0.8, linestyle=(0, (5, 3)))
    axes.set_xscale("log", base=2)
    axes.set_xticks([int(b) for b in FLAGS.batches], FLAGS.batches)
    axes.set_xlabel("rows in a batch")
    axes.set_title("Held-out loss, nat, equal epochs (dashed: 3% above the smallest batch)", loc="left", fontsize=10)
    axes.legend(frameon=False)
    save(figure, FLAGS.png)


if __name__ == "__main__":
    main(benchmark)

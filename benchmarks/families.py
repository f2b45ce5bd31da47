"""Which recipe learns most in equal CPU time: bert, nezha or modern, which is that of the demo; each tuned alike.

    taskset -c 0 python benchmarks/families.py --folder=runs/families --store=runs/demo/store --png=families.png

Each gets as many steps as fit the CPU time at its own pace, which is measured first; each is tuned over the same number
of learning rates on a part of that time. All are evaluated alike: full sentences, 15% masks. The
encoder is as large as the demo's, 2 layers of width 256, and starts with attention at the neighbours.
"""

import dataclasses
from typing import Any

from absl import flags
from charts import picture, save
from configs.demo import config as demo
from trainings import FLAGS, main, number, over_seeds, small, step_seconds, tuned

from bert_jax.config import Config, use
from data_pipeline.store import Store

flags.DEFINE_float("seconds", 600, "CPU time that each run trains, compilation not counted.")
flags.DEFINE_float("tuning", 0.25, "The part of it in which a learning rate is tried.", 0, 1)
ADAMW, LAMB = (5e-4, 1e-3, 2e-3, 4e-3), (2e-3, 4e-3, 8e-3, 1.6e-2)
RATES = {"bert": ADAMW, "nezha": LAMB, "modern": ADAMW}
flags.DEFINE_multi_enum("family", list(RATES), list(RATES), "Which; give it for each, where not all are wanted.")


def families(store: Store, steps: int, rate: float) -> dict[str, Config]:
    """The recipes at one size, for so many steps."""
    linear, trapezoid = use("linear", warmup=0.1), use("wsd", warmup=0.1, decay=0.4)
    phase = dataclasses.replace(demo.phases[0], steps=steps, learning_rate=rate, schedule=linear)
    change = dataclasses.replace
    # A gated unit has three matrices: half as many again give plain ones as many weights.
    post = change(demo.model, norm="post", norm_epsilon=1e-12, gated=False, mlp_width=1024, token_types=2)
    absolute, relative = (change(post, positions=use(name)) for name in ("absolute", "functional_relative"))
    bert = small(store, phase, model=absolute, objective=use("mlm", mask_rate=0.15), optimizer=use("adamw", b2=0.98))
    modern = change(bert, model=demo.model, phases=(change(phase, schedule=trapezoid),), objective=demo.objective)
    return {
        "bert": bert,
        # The variant "nezha" lets a biased head run away, see README.md.
        "nezha": change(bert, model=relative, optimizer=use("lamb", variant="nvidia", b2=0.98)),
        "modern": modern,
    }


def benchmark() -> dict[str, Any]:
    store = Store.open(FLAGS.store)
    timed = families(store, 1, 1e-3)
    seconds = {name: step_seconds(name, timed[name]) for name in FLAGS.family}
    figures: dict[str, Any] = {}
    for name in FLAGS.family:
        steps = max(10, int(FLAGS.seconds / seconds[name]))
        tried = int(FLAGS.tuning * steps)
        rate, losses = tuned(f"{name}-rate", RATES[name], lambda r, n=name, s=tried: families(store, s, r)[n])
        figures[name] = over_seeds(name, families(store, steps, rate)[name]) | {
            "rate": rate,
            "steps": steps,
            "step_seconds": seconds[name],
            "tuning": {str(r): x for r, x in losses.items()},
        }
    print(f"{'':<8}{'ms/step':>9}{'steps':>7}{'rate':>9}{'held-out':>10}{'spread':>9}")
    for name, f in figures.items():
        pace = f"{1e3 * f['step_seconds']:>9.1f}{f['steps']:>7}"
        print(f"{name:<8}{pace}{f['rate']:>9.2g}{number(f['mean']):>10}{f['spread']:>9.4f}")
    if FLAGS.png:
        draw(figures)
    return {"seconds": FLAGS.seconds, "families": figures}


def draw(figures: dict[str, Any]) -> None:
    """Held-out losses, a dot for each seed."""
    figure, (bars,) = picture(5.0)
    for place, f in enumerate(figures.values()):
        bars.plot([place] * len(f["losses"]), f["losses"], "o", color="#1f5fbf")
    bars.set_xticks(range(len(figures)), list(figures))
    bars.set_title(f"Held-out loss, nat, after {FLAGS.seconds:g} CPU seconds of training", loc="left", fontsize=10)
    save(figure, FLAGS.png)


if __name__ == "__main__":
    main(benchmark)

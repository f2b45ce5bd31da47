"""A training step on the CPU against Hugging Face's BertForMaskedLM in PyTorch, and against the machine's own ceiling.

    python benchmarks/train_step_cpu.py --sizes=mini --json=train_step_cpu.json
    python benchmarks/train_step_cpu.py --sizes=small,base,base512

Vocabulary 30522, dropout 0.1, AdamW, clipping at 1, 15% of the tokens predicted, masks drawn anew each step. The peers
are timed as the class computes its loss, over the logits of all places, and with logits at the predicted places alone,
which is the best that can be made of them; weights are float32, bf16 is by autocast.
Ours has its layers side by side instead of in a loop: `--config.model.unroll`.
All steps take turns, each in a process of its own; a ratio is the median over the rounds of two neighbouring turns.
The ceiling is a float32 product of two 1536 × 1536 matrices in the same rounds, by XLA or PyTorch, whichever is faster;
our share of it counts `bert_jax.flops.needed_flops`.
"""

import functools
import statistics
import sys
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import training
from bert_jax import cli
from bert_jax.flops import needed_flops

FLAGS = flags.FLAGS
SIZES = {
    "mini": training.Work(4, 256, 32, 128),
    "small": training.Work(4, 512, 32, 128),
    "base": training.Work(12, 768, 8, 128),
    "base512": training.Work(12, 768, 4, 512),
}
WAYS = {
    "eager float32": {},
    "compiled float32": {"compiled": True},
    "eager bf16": {"dtype": "bfloat16"},
    "compiled bf16": {"dtype": "bfloat16", "compiled": True},
}
PEERS = WAYS | {f"{name}, all places": ways | {"gather": False} for name, ways in WAYS.items()}


def define() -> None:
    flags.DEFINE_list("sizes", list(SIZES), "Which sizes.")
    flags.DEFINE_list("peers", list(PEERS), "Which peers.")
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")
    flags.DEFINE_float("patience", 300, "Seconds in which a peer must have compiled and done two steps.")


def main() -> dict[str, Any]:
    print(f"{'':<34}{'step':>10}{'ours is':>10}{'of ceiling':>12}")
    return {size: measure(size) for size in FLAGS.sizes}


def measure(size: str) -> dict[str, Any]:
    """The figures of one size, printed as they come."""
    work = SIZES[size]
    makers = {"ours": functools.partial(training.ours, work, {"model.unroll": work.layers})}
    makers |= {f"peer {name}": functools.partial(training.torch_bert, work, **PEERS[name]) for name in FLAGS.peers}
    makers |= {"product by XLA": training.matmul_jax, "product by PyTorch": training.matmul_torch}
    turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds, FLAGS.patience)
    seconds = {name: statistics.median(values) for name, values in turns.items()}
    product = min((name for name in turns if name.startswith("product")), key=lambda name: seconds[name])
    ceiling = training.matmul_flops_of() / seconds[product]
    needed = work.rows * needed_flops(training.make_config(work).model, work.length, work.predictions)
    # Of the same round, as every ratio.
    share = needed / training.matmul_flops_of() / training.ratios(turns, "ours", product)
    times = {name: training.ratios(turns, name, "ours") for name in turns if name.startswith("peer")}
    print(f"{size}: {work.name}, {needed / 1e9:.0f} GFLOP; ceiling {ceiling / 1e9:.0f} GFLOP/s")
    print(f"  {'ours':<32}{1e3 * seconds['ours']:>7.0f} ms{'':>10}{share:>12.0%}")
    for name, ratio in times.items():
        print(f"  {name:<32}{1e3 * seconds[name]:>7.0f} ms{ratio:>9.2f}×")
    for name, reason in failed.items():
        print(f"  {name:<32}{reason}")
    sys.stdout.flush()
    return {
        "seconds": turns,
        "failed": failed,
        "needed_flops": needed,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": share,
        "times_faster_than": times,
    }


if __name__ == "__main__":
    cli.run(main, define)

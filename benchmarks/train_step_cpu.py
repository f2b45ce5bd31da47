"""A training step on the CPU against Hugging Face's BertForMaskedLM in PyTorch, and against the machine's own ceiling.

    python benchmarks/train_step_cpu.py --sizes=mini --json=train_step_cpu.json
    python benchmarks/train_step_cpu.py --sizes=small,base,base512

Vocabulary 30522, dropout 0.1, AdamW, clipping at 1, 15% of the tokens predicted, masks drawn anew each step. The peers
are timed as the class computes its loss, over the logits of all places, and with logits at the predicted places alone,
which is the best that can be made of them; weights are float32, bf16 is by autocast.
Ours has its layers side by side instead of in a loop: `--config.model.unroll`.
One peer at a time takes turns with ours, each in a process of its own, since all at once would not fit into memory; a
ratio is the median over the rounds of two neighbouring turns. The ceiling is a float32 product of two 1536 × 1536
matrices in the same rounds, by XLA or PyTorch, whichever is faster; our share of it counts
`bert_jax.flops.needed_flops` and is the median over all rounds.
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
    needed = work.rows * needed_flops(training.make_config(work).model, work.length, work.predictions)
    print(f"{size}: {work.name}, {needed / 1e9:.0f} GFLOP")
    met = {peer: meet(work, peer) for peer in FLAGS.peers}
    ours = [seconds for turns, _ in met.values() for seconds in turns["ours"]]
    ceilings = [training.matmul_flops_of() / seconds for turns, _ in met.values() for seconds in product(turns)]
    share = statistics.median(needed / a / b for a, b in zip(ours, ceilings, strict=True))
    ceiling = statistics.median(ceilings)
    reached = f"{1e3 * statistics.median(ours):>7.0f} ms{'':>10}{share:>12.0%} of {ceiling / 1e9:.0f} GFLOP/s"
    print(f"  {'ours':<32}{reached}", flush=True)
    return {
        "seconds": {peer: turns for peer, (turns, _) in met.items()},
        "failed": {peer: reason for peer, (_, reason) in met.items() if reason},
        "needed_flops": needed,
        "ceiling_flops_per_second": ceiling,
        "share_of_ceiling": share,
        "times_faster_than": {
            peer: training.ratios(turns, peer, "ours") for peer, (turns, reason) in met.items() if not reason
        },
    }


def meet(work: training.Work, peer: str) -> tuple[dict[str, list[float]], str]:
    """The turns of ours, the peer and the products, and why the peer did not run, if so; prints the peer's line."""
    makers = {
        "ours": functools.partial(training.ours, work, {"model.unroll": work.layers}),
        peer: functools.partial(training.torch_bert, work, **PEERS[peer]),
        "product by XLA": training.matmul_jax,
        "product by PyTorch": training.matmul_torch,
    }
    turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds, FLAGS.patience)
    if peer in failed:
        said = failed[peer]
    else:
        said = f"{1e3 * statistics.median(turns[peer]):>7.0f} ms{training.ratios(turns, peer, 'ours'):>9.2f}×"
    print(f"  {peer:<32}{said}", flush=True)
    return turns, failed.get(peer, "")


def product(turns: dict[str, list[float]]) -> list[float]:
    """Seconds of the faster of the two products, of each turn."""
    both = [values for name, values in turns.items() if name.startswith("product")]
    return min(both, key=statistics.median)


if __name__ == "__main__":
    cli.run(main, define)

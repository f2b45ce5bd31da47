"""A training step on the CPU against Hugging Face's BertForMaskedLM in PyTorch, and against the machine's own ceiling.

    python benchmarks/train_step_cpu.py --sizes=mini --json=train_step_cpu.json --png=train_step_cpu.png
    python benchmarks/train_step_cpu.py --sizes=small,base,base512

Vocabulary 30522, dropout 0.1, AdamW, clipping at 1, 15% of the tokens predicted, masks drawn anew each step. The peers
are timed as the class computes its loss, over the logits of all places, and with logits at the predicted places alone,
which is the best that can be made of them; weights are float32, bf16 is by autocast.
Ours is timed in float32 and, with `--config.model.dtype=bfloat16`, in bf16, which is quicker only on a processor with
instructions for it.
One peer at a time takes turns with ours, each in a process of its own, since all at once would not fit into memory; a
ratio is the median over the rounds of two neighbouring turns. The ceiling is a product of two 1536 × 1536 matrices in
the same rounds, by XLA or PyTorch, whichever is faster, in float32 and in bf16; our share of it counts
`bert_jax.analysis.flops.needed_flops` and is the median over all rounds.
"""

import functools
import statistics
import sys
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from bert_jax.analysis.flops import needed_flops
from configuration import cli

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
OURS = {"float32": "ours, float32", "bfloat16": "ours, bf16"}
PEERS = WAYS | {f"{name} over all places": ways | {"gather": False} for name, ways in WAYS.items()}


def define() -> None:
    charts.define()
    flags.DEFINE_list("sizes", list(SIZES), "Which sizes.")
    flags.DEFINE_list("peers", list(PEERS), "Which peers.")
    for name, known in (("sizes", SIZES), ("peers", PEERS)):
        said = f"each must be one of {', '.join(known)}"
        flags.register_validator(name, lambda values, known=known: set(values) <= set(known), said)
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")
    flags.DEFINE_float("patience", 300, "Seconds in which a peer must have compiled and done two steps.")


def main() -> dict[str, Any]:
    print(f"{'':<34}{'step':>10}{'float32 is':>12}{'bf16 is':>10}")
    figures = {size: measure(size) for size in FLAGS.sizes}
    charts.bars(
        {
            SIZES[size].name: {
                peer: statistics.median(turns[peer]) for peer, turns in of["seconds"].items() if peer in turns
            }
            | {OURS[dtype]: of[dtype]["step_seconds"] for dtype in OURS}
            for size, of in figures.items()
        },
        "seconds a step",
    )
    return figures


def measure(size: str) -> dict[str, Any]:
    """The figures of one size, printed as they come."""
    work = SIZES[size]
    needed = work.rows * needed_flops(training.make_config(work).model, work.length, work.predictions)
    print(f"{size}: {work.name}, {needed / 1e9:.0f} GFLOP")
    met = {peer: meet(work, peer) for peer in FLAGS.peers}
    figures = {
        dtype: {
            **reached(dtype, needed, [turns for turns, _ in met.values()]),
            "times_faster_than": {
                peer: training.ratios(turns, peer, OURS[dtype]) for peer, (turns, reason) in met.items() if not reason
            },
        }
        for dtype in OURS
    }
    return {
        "seconds": {peer: turns for peer, (turns, _) in met.items()},
        "failed": {peer: reason for peer, (_, reason) in met.items() if reason},
        "needed_flops": needed,
        **figures,
    }


def meet(work: training.Work, peer: str) -> tuple[dict[str, list[float]], str]:
    """The turns of ours, the peer and the products, and why the peer did not run, if so; prints the peer's line."""
    makers = {peer: functools.partial(training.torch_bert, work, **PEERS[peer])}
    for dtype, name in OURS.items():
        makers[name] = functools.partial(training.ours, work, {"model.dtype": dtype})
        makers[f"product by XLA, {dtype}"] = functools.partial(training.matmul_jax, dtype=dtype)
        makers[f"product by PyTorch, {dtype}"] = functools.partial(training.matmul_torch, dtype=dtype)
    turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds, FLAGS.patience)
    if peer in failed:
        said = failed[peer]
    else:
        by_float32, by_bf16 = (training.ratios(turns, peer, name) for name in OURS.values())
        said = f"{1e3 * statistics.median(turns[peer]):>7.0f} ms{by_float32:>11.2f}×{by_bf16:>9.2f}×"
    print(f"  {peer:<32}{said}", flush=True)
    return turns, failed.get(peer, "")


def reached(dtype: str, needed: float, met: list[dict[str, list[float]]]) -> dict[str, float]:
    """Our step's seconds, the ceiling of its dtype and the share of it, printed."""
    ours = [seconds for turns in met for seconds in turns[OURS[dtype]]]
    ceilings = [training.matmul_flops_of() / seconds for turns in met for seconds in product(turns, dtype)]
    share = statistics.median(needed / a / b for a, b in zip(ours, ceilings, strict=True))
    seconds, ceiling = statistics.median(ours), statistics.median(ceilings)
    print(f"  {OURS[dtype]:<32}{1e3 * seconds:>7.0f} ms, {share:.0%} of {ceiling / 1e9:.0f} GFLOP/s", flush=True)
    return {"step_seconds": seconds, "ceiling_flops_per_second": ceiling, "share_of_ceiling": share}


def product(turns: dict[str, list[float]], dtype: str) -> list[float]:
    """Seconds of the faster of the two products, of each turn."""
    both = [turns[f"product by {library}, {dtype}"] for library in ("XLA", "PyTorch")]
    return min(both, key=statistics.median)


if __name__ == "__main__":
    cli.run(main, define)

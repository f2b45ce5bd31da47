"""A training step on one GPU: BERT-base and -large, rows of 128 and 512 tokens, ours and PyTorch's.

    python benchmarks/train_step_gpu.py --json=train_step_gpu.json --png=train_step_gpu.png
    python benchmarks/train_step_gpu.py --dry_run                    # tiny, on the CPU: everything but the figures

Needs jax, flax, optax, pydantic and absl, and torch and transformers for the peers; neither TensorFlow nor
ml_collections. Batches are NumPy arrays of full rows, four documents each (packed). bfloat16 over float32 weights,
dropout 0.1, clipping at 1, 15% of the tokens predicted. Ours: LAMB, absolute and functional-relative positions, cuDNN's
kernel and at two sizes the reference one, no dropout on attention. Peers: Hugging Face's BERT with SDPA and
`torch.compile`, dropout on attention too, which its fused kernel does at no cost, and ModernBERT of the same depth and
width with the fastest attention that is installed, as it comes without dropout; bf16 autocast, fused AdamW, logits at
predicted places alone, one document a row, which is less to mask. Share of the peak:
`bert_jax.analysis.flops.needed_flops` over 989 TFLOP/s, dense bf16 of an H100 SXM or H200; for ModernBERT, whose
feed-forward is gated, it is that of BERT.
Ours and the peers compile side by side, one to two minutes a size of BERT-large with 16 cores, and then take turns,
each in a process of its own; `--patience` leaves out what takes longer, and the file of `--json` is written anew after
each size.
"""

import dataclasses
import functools
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from bert_jax.analysis.flops import needed_flops
from configuration import cli

FLAGS = flags.FLAGS
PEAK = 989e12  # FLOP/s, dense bfloat16, NVIDIA's data sheets of the H100 SXM and the H200
SIZES = {
    "base 128": training.Work(12, 768, 256, 128),
    "base 512": training.Work(12, 768, 64, 512),
    "large 128": training.Work(24, 1024, 128, 128),
    "large 512": training.Work(24, 1024, 32, 512),
}
WITH_XLA = ("base 512", "large 512")  # sizes that the reference kernel is timed at too
POSITIONS = ("absolute", "functional_relative")
DOCUMENTS = 4  # in a row


def define() -> None:
    charts.define()
    flags.DEFINE_list("sizes", list(SIZES), "Which sizes.")
    flags.DEFINE_bool("reference", True, "Time the reference kernel too, at two sizes.")
    flags.DEFINE_list("peers", ["bert", "modernbert"], "Which peers; empty for none.")
    flags.DEFINE_integer("rounds", 3, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 2.0, "How long a turn lasts at least.")
    flags.DEFINE_float("patience", 300, "Seconds that one case may take to compile and warm up.")
    flags.DEFINE_float("minutes", 30, "Sizes that would begin later than this are left out, and the table says so.")
    flags.DEFINE_bool("dry_run", False, "Everything at a tiny size on the CPU.")


def main() -> dict[str, Any]:
    began, figures = time.monotonic(), {}
    if FLAGS.dry_run:
        os.environ["JAX_PLATFORMS"] = "cpu"
    else:
        os.environ.setdefault("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=false")  # as README says
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share the card
    print(f"{'':<44}{'step':>10}{'tokens/s':>12}{'of peak':>9}{'ours is':>9}")
    for size in FLAGS.sizes:
        if time.monotonic() - began > 60 * FLAGS.minutes:
            print(f"{size}: left out, {FLAGS.minutes:g} minutes are over")
            continue
        figures[size] = measure(size, FLAGS.dry_run)
        if FLAGS.json:  # what there is, should the machine be taken away
            cli.write_json(Path(FLAGS.json), figures)
    speeds = {
        size: {name: row["tokens_per_second"] for name, row in of["cases"].items()} for size, of in figures.items()
    }
    charts.bars(speeds, "tokens a second")
    return figures


def measure(size: str, tiny: bool) -> dict[str, Any]:
    """The figures of one size, printed as they come."""
    work = SIZES[size]
    if tiny:
        work = training.Work(1, 128, 4, 64, vocab_size=512)
    others = peers(work, tiny)
    groups = [ours(work, "xla" if tiny else "cudnn") | others]
    if size in WITH_XLA and FLAGS.reference and not tiny:
        groups.append(ours(work, "xla"))
    turns: dict[str, list[float]] = {}
    failed: dict[str, str] = {}
    for group in groups:  # one after the other, for the card's memory
        at_once = set(others) if tiny else set(group)  # compile side by side
        found, not_run = training.take_turns(
            group, FLAGS.rounds, 0.0 if tiny else FLAGS.seconds, FLAGS.patience, at_once
        )
        turns, failed = turns | found, failed | not_run
    flops = work.rows * needed_flops(training.make_config(work).model, work.length, work.predictions)
    seconds = {name: statistics.median(values) for name, values in turns.items()}
    best = min((n for n in seconds if not n.startswith("peer")), key=lambda name: seconds[name])
    rows = {
        name: {
            "seconds": turns[name],
            "tokens_per_second": work.rows * work.length / seconds[name],
            "share_of_peak": flops / seconds[name] / PEAK,
            "times_slower_than_our_best": seconds[name] / seconds[best],
        }
        for name in turns
    }
    print(f"{size}: {work.name}, {flops / 1e12:.2f} TFLOP")
    for name, row in rows.items():
        print(
            f"  {name:<42}{1e3 * seconds[name]:>7.1f} ms{row['tokens_per_second']:>12,.0f}"
            f"{row['share_of_peak']:>9.1%}{row['times_slower_than_our_best']:>8.2f}×"
        )
    for name, reason in failed.items():
        print(f"  {name:<42}{reason}")
    sys.stdout.flush()
    return {"work": dataclasses.asdict(work), "flops": flops, "cases": rows, "failed": failed}


def ours(work: training.Work, kernel: str) -> dict[str, Callable[[], training.Step]]:
    """Our steps with one kernel; if it refuses what is asked, the table says why."""
    changes = {
        "model.kernel": kernel,
        "model.dtype": "bfloat16",
        "model.attention_dropout": 0.0,
        "optimizer": "lamb",
    }
    return {
        f"{positions}, {kernel}": functools.partial(
            training.ours, work, changes | {"model.positions": positions}, DOCUMENTS
        )
        for positions in POSITIONS
    }


def peers(work: training.Work, tiny: bool) -> dict[str, Callable[[], training.Step]]:
    """The peers that are asked for; eager on the CPU, where compiling them takes minutes."""
    device = "cpu" if tiny else "cuda"
    settings = {"dtype": "bfloat16", "compiled": not tiny, "device": device}
    makers = {"bert": training.torch_bert, "modernbert": modernbert}
    return {f"peer {name}": functools.partial(makers[name], work, **settings) for name in FLAGS.peers}


def modernbert(work: training.Work, *, dtype: str, compiled: bool, device: str) -> training.Step:
    """ModernBertForMaskedLM of the same depth and width, without its reduced feed-forward."""
    import torch
    import transformers

    torch.manual_seed(0)
    attention = "flash_attention_2" if device == "cuda" and importlib.util.find_spec("flash_attn") else "sdpa"
    config = transformers.ModernBertConfig(
        vocab_size=work.vocab_size,
        num_hidden_layers=work.layers,
        hidden_size=work.width,
        num_attention_heads=work.heads,
        intermediate_size=4 * work.width * 2 // 3,  # gated: three matrices for the work of two
        max_position_embeddings=max(work.length, 512),
        pad_token_id=training.PAD,
        cls_token_id=training.CLS,
        sep_token_id=training.SEP,
        bos_token_id=training.CLS,
        eos_token_id=training.SEP,
        attn_implementation=attention,
        reference_compile=False,
    )
    model = transformers.ModernBertForMaskedLM(config).to(device).train()
    head = lambda hidden: model.decoder(model.head(hidden))
    return training.torch_step(
        model, model.model, head, work, dtype=dtype, compiled=compiled, gather=True, device=device
    )


if __name__ == "__main__":
    cli.run(main, define)

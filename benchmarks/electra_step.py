"""What a step of ELECTRA costs: beside masked language modelling of the same encoder, and beside PyTorch.

    python benchmarks/electra_step.py --json=electra_step.json
    python benchmarks/electra_step.py --sizes=base --dtypes=bfloat16 --peers="as written" --rounds=3

The library transformers has no joint model, so the peer is the composition of its two classes, tied by hand: as one
would write it, with the classes' own losses over the logits of all places, and in its best forms, with logits at the
predicted places alone, compiled, in float32 and in bf16 (autocast). Both sides draw masks and guesses anew each step,
with dropout 0.1, AdamW and clipping at 1. All take turns in one run, each in a process of its own; a ratio is the
median over the rounds of two turns of the same round.
"""

import dataclasses
import functools
import os
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from configuration import cli

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Size:
    """One comparison."""

    work: training.Work
    tables: int  # width of the embeddings
    share: float  # of the encoder's width that the generator has


SIZES = {
    "mini": Size(training.Work(4, 256, 16, 128), 128, 1 / 4),
    "small": Size(training.Work(12, 256, 16, 128), 128, 1 / 4),
    "base": Size(training.Work(12, 768, 4, 128), 768, 1 / 3),
}
PEERS = {
    "as written": {"gather": False},
    "predicted places": {},
    "predicted places, compiled": {"compiled": True},
    "predicted places, compiled, bf16": {"compiled": True, "dtype": "bfloat16"},
}
OURS, MLM = "ELECTRA here", "MLM here"
DTYPES = {"float32": "", "bfloat16": ", bf16"}


def define() -> None:
    charts.define()
    flags.DEFINE_list("sizes", list(SIZES), "Which sizes.")
    flags.DEFINE_string("peers", ";".join(PEERS), "Which peers, with ; between them.")
    flags.DEFINE_list("dtypes", list(DTYPES), "What ours computes in; one alone needs less memory.")
    flags.DEFINE_integer("rounds", 5, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")
    flags.DEFINE_float("patience", 600, "Seconds in which a peer must have compiled and done two steps.")
    flags.DEFINE_string("device", "cpu", "Where PyTorch works: cpu or cuda. JAX takes what it finds.")
    known = lambda given, names: set(given) <= set(names)
    flags.register_validator(
        "dtypes", lambda given: given and known(given, DTYPES), f"one or more of {', '.join(DTYPES)}"
    )
    flags.register_validator("sizes", lambda given: known(given, SIZES), f"each must be one of {', '.join(SIZES)}")
    flags.register_validator(
        "peers", lambda given: known(filter(None, given.split(";")), PEERS), f"each must be one of {'; '.join(PEERS)}"
    )


def main() -> dict[str, Any]:
    figures = {name: measure(name) for name in FLAGS.sizes}
    charts.bars({name: of["step_seconds"] for name, of in figures.items()}, "seconds a step")
    return figures


def measure(name: str) -> dict[str, Any]:
    """The figures of one size, printed."""
    size = SIZES[name]
    print(f"{name}: {size.work.name}, tables of {size.tables}, generator {size.share:.2f} of the width", flush=True)
    makers = {
        peer: functools.partial(torch_electra, size, device=FLAGS.device, **PEERS[peer])
        for peer in filter(None, FLAGS.peers.split(";"))
    }
    chosen = {dtype: said for dtype, said in DTYPES.items() if dtype in FLAGS.dtypes}
    for dtype, said in chosen.items():
        makers[OURS + said] = functools.partial(ours, size, dtype, "electra")
        makers[MLM + said] = functools.partial(ours, size, dtype, "mlm")
    turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds, FLAGS.patience)
    seconds = {name: statistics.median(of) for name, of in turns.items()}
    for maker in makers:
        said = failed.get(maker) or f"{1e3 * seconds[maker]:8.0f} ms" + beside(turns, maker, chosen.values())
        print(f"  {maker:<34}{said}", flush=True)
    over_mlm = {
        dtype: training.ratios(turns, OURS + said, MLM + said)
        for dtype, said in chosen.items()
        if {OURS + said, MLM + said} <= set(turns)
    }
    return {"step_seconds": seconds, "turns": turns, "failed": failed, "times_mlm": over_mlm}


def beside(turns: Mapping[str, list[float]], name: str, ways: Iterable[str]) -> str:
    """How many times each of our steps of ELECTRA that ran goes into this one."""
    ran = [said for said in ways if OURS + said in turns]
    return "".join(f"{training.ratios(turns, name, OURS + said):8.2f} × ours{said}" for said in ran)


def ours(size: Size, dtype: str, objective: str) -> training.Step:
    """Our step with one of the two objectives."""
    tables = 0 if size.tables == size.work.width else size.tables
    changes = {"model.dtype": dtype, "model.embedding_width": tables}
    if objective == "electra":
        changes |= {"objective": "electra", "objective.generator_size": size.share}
    return training.ours(size.work, changes)


def torch_electra(
    size: Size, *, dtype: str = "float32", compiled: bool = False, gather: bool = True, device: str = "cpu"
) -> training.Step:
    """ElectraForMaskedLM and ElectraForPreTraining with the same embeddings, SDPA attention, fused AdamW.

    Args:
      dtype: of autocast; weights and moments are float32.
      gather: logits of the generator at the predicted places alone, instead of the class's own loss over all.
    """
    import torch
    import transformers
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    work = size.work
    generator = transformers.ElectraForMaskedLM(electra_config(size, size.share)).to(device).train()
    discriminator = transformers.ElectraForPreTraining(electra_config(size, 1)).to(device).train()
    generator.electra.embeddings = discriminator.electra.embeddings
    generator.generator_lm_head.weight = discriminator.electra.embeddings.word_embeddings.weight
    both = torch.nn.ModuleList([generator, discriminator])
    optimizer = torch.optim.AdamW(both.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    tokens = torch.from_numpy(training.make_batch(work)["tokens"].astype(np.int64)).to(device)
    rows = torch.arange(work.rows, device=device)[:, None]

    def guess(shown: Any, places: Any, targets: Any) -> tuple[Any, Any]:
        if gather:
            hidden = generator.electra(shown)[0][rows, places]
            logits = generator.generator_lm_head(generator.generator_predictions(hidden)).float()
            return cross_entropy(logits.flatten(0, 1), targets.flatten()), logits
        labels = torch.full_like(shown, -100).scatter(1, places, targets)
        out = generator(shown, labels=labels)
        return out.loss, out.logits[rows, places].float()

    def loss_of(shown: Any, places: Any, targets: Any) -> Any:
        loss, logits = guess(shown, places, targets)
        noise = torch.empty_like(logits).exponential_().log()
        guesses = (logits.detach() - noise).argmax(-1)
        read = tokens.scatter(1, places, guesses)
        return loss + 50 * discriminator(read, labels=(read != tokens).long()).loss

    loss_fn = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        places = torch.rand(tokens.shape, device=device).topk(work.predictions).indices
        targets = tokens.gather(1, places)
        hidden = torch.rand(places.shape, device=device) < 0.85
        shown = tokens.scatter(1, places, torch.where(hidden, training.MASK, targets))
        with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
            loss = loss_fn(shown, places, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def electra_config(size: Size, share: float) -> Any:
    """The PyTorch configuration of an encoder of this share of the width."""
    import transformers

    width = round(share * size.work.width)
    return transformers.ElectraConfig(
        vocab_size=size.work.vocab_size,
        embedding_size=size.tables,
        num_hidden_layers=size.work.layers,
        hidden_size=width,
        num_attention_heads=max(1, round(share * size.work.heads)),
        intermediate_size=4 * width,
        max_position_embeddings=max(size.work.length, 512),
        hidden_dropout_prob=size.work.dropout,
        attention_probs_dropout_prob=size.work.dropout,
        attn_implementation="sdpa",
    )


if __name__ == "__main__":
    cli.run(main, define)

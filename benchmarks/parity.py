"""Does training here do what training in PyTorch does? Both losses, step for step, from the same weights.

    python benchmarks/parity.py --json=parity.json --png=parity.png

Fresh weights are exported and opened by PyTorch: as `BertForMaskedLM` of the library transformers, and for
functional-relative positions, clipped and not, with the modelling file that the export carries. Then both train on the
same masked batches: AdamW with the same decay for the same parameters, the same schedule and clipping, float32, no
dropout. Ours is the very step of `bert_jax.train`. A difference at any step above 1e-4 of the loss is a failure.
"""

import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bert_jax.config import Config, Model, Phase
from configuration import cli
from configuration.variants import ConfigError, load, use

FLAGS = flags.FLAGS
SCHEMES = {
    "BERT": use("absolute"),
    "NEZHA, clipped": use("functional_relative", max_distance=16),
    "NEZHA, unclipped": use("functional_relative"),
}
MODEL = Model(
    vocab_size=4001, layers=4, width=192, heads=6, mlp_width=768, max_length=96, dropout=0.0, attention_dropout=0.0
)
PAD, CLS, SEP, MASK, FIRST = 0, 2, 3, 4, 5  # ids; words are those from FIRST on
LIMIT = 1e-4


def define() -> None:
    flags.DEFINE_integer("steps", 100, "Updates.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 16, "B, rows in a batch.", lower_bound=1)
    flags.DEFINE_float("learning_rate", 5e-4, "The peak.")
    flags.DEFINE_string("png", "", "Also draw the losses into this file.")


def main() -> dict[str, Any]:
    phase = Phase(FLAGS.steps, MODEL.max_length, FLAGS.batch_size, FLAGS.learning_rate)
    print(f"{'':<18}{'first loss':>12}{'last loss':>12}{'largest difference':>20}{'at step':>9}")
    figures: dict[str, Any] = {}
    for name, positions in SCHEMES.items():
        ours, theirs = both(dataclasses.replace(MODEL, positions=positions), phase)
        apart = np.abs(ours / theirs - 1)
        print(f"{name:<18}{ours[0]:>12.6f}{ours[-1]:>12.6f}{apart.max():>20.1e}{apart.argmax() + 1:>9}", flush=True)
        figures[name] = {"ours": ours.tolist(), "pytorch": theirs.tolist(), "largest_difference": float(apart.max())}
    if FLAGS.png:
        draw(figures, FLAGS.png)
    worst = max(figure["largest_difference"] for figure in figures.values())
    if worst > LIMIT:
        raise ConfigError(f"the losses differ by {worst:.1e}, more than {LIMIT}")
    return {"steps": FLAGS.steps, "batch_size": FLAGS.batch_size, "length": phase.length, "models": figures}


def both(model: Model, phase: Phase) -> tuple[np.ndarray, np.ndarray]:
    """The losses [steps] of both, from the same weights on the same batches."""
    import jax

    from bert_jax.formats import huggingface
    from bert_jax.objectives import Vocabulary
    from bert_jax.runtime import sharding
    from bert_jax.training.state import init_state, learning_rate
    from bert_jax.training.step import jit_train_step

    config = Config("parity", (phase,), model=model, optimizer=use("adamw"))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    mlm = load("bert_jax.objectives", config.objective)(model, Vocabulary(model.vocab_size, PAD, CLS, SEP, MASK))
    update = jit_train_step(config, phase, mlm._replace(corrupt=lambda batch, key: batch), mesh)
    batches = [jax.device_get(mlm.corrupt(rows, jax.random.key(i))) for i, rows in enumerate(draws(model, phase))]
    state, ours = init_state(config, mesh), []
    with tempfile.TemporaryDirectory() as folder:
        huggingface.write(model, jax.device_get(state["params"]), Path(folder))
        theirs = train_in_pytorch(
            folder, batches, config, [float(learning_rate(config)(i)) for i in range(phase.steps)]
        )
    for batch in batches:
        state, metrics = update(state, batch)
        ours.append(float(metrics["loss"]))
    return np.array(ours), theirs


def draws(model: Model, phase: Phase) -> Iterator[dict[str, np.ndarray]]:
    """Batches of made-up text: common and rare words, each likely to be followed by its neighbours; some padding."""
    rng = np.random.default_rng(0)
    for _ in range(phase.steps):
        shape = (phase.batch_size, phase.length)
        words = model.vocab_size - FIRST
        start = (words * rng.random((shape[0], 1)) ** 3).astype(int)
        tokens = FIRST + (start + np.cumsum(rng.integers(-3, 5, shape), axis=1)) % words
        ends = rng.integers(shape[1] // 2, shape[1] + 1, (shape[0], 1))
        place = np.arange(shape[1])[None]
        tokens = np.where(place == ends - 1, SEP, np.where(place < ends, tokens, PAD))
        tokens[:, 0] = CLS
        yield {
            "tokens": tokens.astype(np.int32),
            "segments": (place < ends).astype(np.int32),
            "positions": np.broadcast_to(place, shape).astype(np.int32),
            "token_types": np.broadcast_to(place > shape[1] // 3, shape).astype(np.int32),
        }


def train_in_pytorch(
    folder: str, batches: list[dict[str, np.ndarray]], config: Config, rates: list[float]
) -> np.ndarray:
    """The losses [steps] of the model in a folder."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True).train()
    settled = [name.endswith("bias") or "LayerNorm" in name for name, _ in model.named_parameters()]
    groups = [
        {"params": [p for p, s in zip(model.parameters(), settled, strict=True) if s], "weight_decay": 0.0},
        {"params": [p for p, s in zip(model.parameters(), settled, strict=True) if not s], "weight_decay": 0.01},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-6)
    losses = []
    for batch, rate in zip(batches, rates, strict=True):
        labels = np.full(batch["tokens"].shape, -100)
        kept = np.where(batch["target_weights"] > 0, batch["targets"], -100)
        np.put_along_axis(labels, batch["target_positions"], kept, axis=1)
        tokens, mask, types, labels = (
            torch.tensor(x).long() for x in (batch["tokens"], batch["segments"] > 0, batch["token_types"], labels)
        )
        loss = model(tokens, attention_mask=mask, token_type_ids=types, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def draw(figures: dict[str, Any], file: str) -> None:
    """The losses above, their differences below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 6), height_ratios=(2, 1))
    for name, figures_of in figures.items():
        ours, theirs = np.array(figures_of["ours"]), np.array(figures_of["pytorch"])
        steps = np.arange(1, len(ours) + 1)
        (line,) = above.plot(steps, ours, label=name)
        above.plot(steps[::5], theirs[::5], "o", color=line.get_color(), markersize=4, fillstyle="none")
        below.semilogy(steps, np.maximum(np.abs(ours / theirs - 1), 1e-9), color=line.get_color())
    above.set_ylabel("loss, nat")
    above.legend(title="lines: here; rings: PyTorch")
    below.axhline(LIMIT, color="gray", linestyle=":")
    below.set_ylabel("relative difference")
    below.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    cli.run(main, define)

"""Held-out rows whose masks are drawn once for all systems, and the loss there, by one function for all."""

from pathlib import Path

import numpy as np

from benchmarks.timed import Rows, System
from configuration.files import write_bytes
from configuration.variants import use
from data_pipeline.batches import pipeline
from data_pipeline.store import Store

FORMAT = use("full_sentences")  # [CLS] … [SEP] [CLS] next document … [SEP], as the rows that peers train on
MASK_RATE = 0.15  # as BERT's evaluation, whatever the rate of training
BATCH = 32  # rows


def draw(store: str, length: int, most: int, file: Path) -> int:
    """Writes at most so many masked rows of the held-out documents into a file; gives their number, R.

    The file has tokens as shown, segments, positions and token_types, [R, L]; target_positions, targets, `counted`
    (what is predicted) and `masked` (where [MASK] is shown), [R, P].
    """
    import io

    import jax

    from bert_jax.config import Model
    from bert_jax.objectives import mlm
    from bert_jax.training.setup import vocabulary_of

    opened = Store.open(store)
    split, vocabulary = opened.split("held_out"), vocabulary_of(opened)
    number = min(most, pipeline.row_facts(split, FORMAT, length).rows)
    size = min(BATCH, number)  # full batches alone, so that no row is padding
    batches = pipeline.evaluation_batches(
        split, FORMAT, length, size, pipeline.specials_of(opened.tokenizer), max_rows=number // size * size
    )
    corrupt = jax.jit(mlm.build(Model(), vocabulary, mask_rate=MASK_RATE).corrupt)
    drawn = [
        jax.device_get(corrupt(batch, jax.random.fold_in(jax.random.key(0), i))) for i, batch in enumerate(batches)
    ]
    rows = {name: np.concatenate([batch[name] for batch in drawn]) for name in drawn[0]}
    shown = np.take_along_axis(rows["tokens"], rows["target_positions"], axis=1)
    rows["counted"] = rows.pop("target_weights") > 0
    rows["masked"] = rows["counted"] & (shown == vocabulary.mask)
    buffer = io.BytesIO()
    np.savez(buffer, **rows)
    write_bytes(file, buffer.getvalue())
    return len(shown)


def read(file: Path) -> Rows:
    """What `draw` has written."""
    with np.load(file) as arrays:
        return dict(arrays)


def losses(system: System, rows: Rows) -> dict[str, float]:
    """Mean loss [nat] at all predicted places, and at those that show [MASK]; NaN where the system has diverged."""
    found = []
    size = min(BATCH, len(rows["tokens"]))
    for first in range(0, len(rows["tokens"]), size):
        batch = {name: array[first : first + size] for name, array in rows.items()}
        found.append(cross_entropy(system.logits(batch), batch["targets"]))
    each = np.concatenate(found)
    return {"loss": float(each[rows["counted"]].mean()), "mask_loss": float(each[rows["masked"]].mean())}


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float32 [B, P, V] and int [B, P] → float64 [B, P]: −log p(target)."""
    logits = logits - logits.max(-1, keepdims=True)
    total = np.exp(logits).sum(-1).astype(np.float64)
    return np.log(total) - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]

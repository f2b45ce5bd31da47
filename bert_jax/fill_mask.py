"""Fills in masked tokens.

python -m bert_jax.fill_mask --workdir=runs/demo --text="Paris is the [MASK] of France."
"""

from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from bert_jax.encoder import Encoder, load
from bert_jax.runtime import command
from configuration import cli
from configuration.foreign import FormatError

MASK = "[MASK]"  # in a text, whatever the tokenizer calls it
BAR = 30  # characters for a probability of 1
BUCKET = 32  # rows are padded to a multiple of so many tokens, so that few shapes are compiled


def define_flags() -> None:
    """--text, --top"""
    flags.DEFINE_multi_string("text", None, f"Text with {MASK} in it; may be given several times.", required=True)
    flags.DEFINE_integer("top", 5, "Predictions to show for each mask.", lower_bound=1)


def main() -> dict[str, Any]:
    """The command."""
    encoder = load(Path(cli.FLAGS.workdir), cli.FLAGS.store, cli.FLAGS.checkpoints)
    examples = [{"text": text, "masks": fill_mask(encoder, text, cli.FLAGS.top)} for text in cli.FLAGS.text]
    print("\n\n".join(readable(example["text"], example["masks"]) for example in examples))
    return {"examples": examples}


def fill_mask(encoder: Encoder, text: str, top: int = 5) -> list[list[dict[str, Any]]]:
    """The most probable tokens for each [MASK] of a text.

    Returns:
      For each mask, in order, `top` dicts of token (as the vocabulary writes it), id and probability, the most
      probable first.

    Raises:
      FormatError: no mask in the text, a text longer than the encoder's rows, or an encoder without tokenizer or
        masked-language-model head.
    """
    tokenizer = encoder.tokenizer
    if tokenizer is None:
        raise FormatError("this encoder's folder has no tokenizer, so text cannot be tokenized")
    ids = tokenizer.encode(text.replace(MASK, tokenizer.specials.mask))
    if tokenizer.mask_id not in ids:
        raise FormatError(f"--text={text!r} has no {MASK} to fill in")
    row = np.array([tokenizer.cls_id, *ids, tokenizer.sep_id])
    longest = encoder.config.max_length
    if row.size > longest:
        raise FormatError(
            f"--text={text[:40]!r}… has {row.size} tokens; the encoder was trained on rows of {longest} at most"
        )
    length = min(-(-row.size // BUCKET) * BUCKET, longest)
    tokens, segments = np.full((1, length), tokenizer.pad_id), np.zeros((1, length), np.int32)
    tokens[0, : row.size], segments[0, : row.size] = row, 1
    logits = encoder(tokens, segments)["logits"]
    if logits is None:
        raise FormatError("this encoder has no masked-language-model head: its checkpoint came without one")
    return [best(encoder, np.asarray(logits[0, place]), top) for place in np.flatnonzero(row == tokenizer.mask_id)]


def best(encoder: Encoder, logits: np.ndarray, top: int) -> list[dict[str, Any]]:
    """The `top` tokens of logits [V], the most probable first."""
    assert encoder.tokenizer is not None
    probabilities = np.exp(logits - logits.max(), dtype=np.float64)
    probabilities /= probabilities.sum()
    known = probabilities[: encoder.tokenizer.vocab_size]  # some checkpoints have more embeddings than pieces
    order = np.argsort(-known, kind="stable")[:top]
    return [
        {"token": token, "id": int(i), "probability": float(known[i])}
        for token, i in zip(encoder.tokenizer.pieces(order), order, strict=True)
    ]


def readable(text: str, masks: list[list[dict[str, Any]]]) -> str:
    """The predictions as lines with bars."""
    lines = [text]
    for number, predictions in enumerate(masks, 1):
        if len(masks) > 1:
            lines.append(f"  mask {number}")
        width = max(len(p["token"]) for p in predictions)
        for p in predictions:
            bar = "█" * max(1, round(BAR * p["probability"]))
            lines.append(f"  {p['token']:<{width}}  {100 * p['probability']:5.1f}%  {bar}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(command.computing(main), cli.workdir_flag, cli.outside_flags, define_flags)

"""Byte-level BPE with a given `tokenizer.json`, as RoBERTa has it (Liu et al. 2019, section 4.4).

A word carries the space before it, and the first word of a text has none unless the file says so.
In a corpus every run of whitespace counts as one space.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from data_pipeline.errors import DataError
from data_pipeline.tokenizers import CUT, END, Specials, Tokenizer, WordCounts

_SPACE_SIGN = "Ġ"  # how a space is written in the vocabulary
_CUT = "\ud800"  # in no text: half of a surrogate pair
_CUT_BYTES = _CUT.encode("utf-8", "surrogatepass")


def build(word_counts: WordCounts, *, file: str = "") -> Tokenizer:
    """Reads a tokenizer; nothing is trained.

    Args:
      file: a `tokenizer.json`.

    Raises:
      DataError: the file cannot be read, is no byte-level BPE, or lacks a special token.
    """
    del word_counts
    option = f"config.data.tokenizer.options.file={file!r}"
    if not file:
        raise DataError(f"{option}: give the tokenizer.json of a byte-level BPE tokenizer")
    try:
        with open(os.path.expanduser(file), encoding="utf-8") as opened:
            definition = json.load(opened)
    except OSError as error:
        raise DataError(f"{option}: {error.strerror}") from None
    except ValueError:
        raise DataError(f"{option} is not JSON") from None
    if not _is_byte_level(definition):
        raise DataError(f"{option} is no byte-level BPE tokenizer; it must have a BPE model and cut text by ByteLevel")
    plain = json.dumps(definition | {"truncation": None, "padding": None}, ensure_ascii=False)
    return Tokenizer("byte_level", plain, _specials(definition))


def starts_word(piece: str) -> bool:
    return piece.startswith(_SPACE_SIGN)


def surface(piece: str) -> bytes:
    return bytes(_BYTES[character] for character in piece if character in _BYTES)


def _bytes() -> dict[str, int]:
    """How the vocabulary writes each byte: printable Latin-1 as it is, the others from U+0100 on (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTES = _bytes()


def words(lines: Sequence[str], continued: Sequence[bool]) -> bytes:
    """Words with the space before them, CUT after each, the word END after each line."""
    spaced = (" " * after + " ".join(line.split()) for line, after in zip(lines, continued, strict=True))
    marked = [line.replace(" ", f"{_CUT} ").removeprefix(_CUT) for line in spaced]
    joined = f"{_CUT}{END}{_CUT}".join([*marked, ""])
    return joined.encode("utf-8", "surrogatepass").replace(_CUT_BYTES, CUT)


def _is_byte_level(definition: Any) -> bool:
    if not isinstance(definition, dict):
        return False
    model, cut = definition.get("model") or {}, definition.get("pre_tokenizer") or {}
    return model.get("type") == "BPE" and cut.get("type") == "ByteLevel" and definition.get("normalizer") is None


def _specials(definition: dict[str, Any]) -> Specials:
    vocabulary = set(definition["model"]["vocab"]) | {token["content"] for token in definition["added_tokens"]}
    usual = {
        "pad": ("<pad>", "[PAD]"),
        "unk": ("<unk>", "[UNK]"),
        "cls": ("<s>", "[CLS]"),
        "sep": ("</s>", "[SEP]"),
        "mask": ("<mask>", "[MASK]"),
    }
    return Specials(
        **{name: next((w for w in written if w in vocabulary), written[0]) for name, written in usual.items()}
    )

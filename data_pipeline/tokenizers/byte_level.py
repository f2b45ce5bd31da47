"""Byte-level BPE with a given `tokenizer.json`, as RoBERTa has it (Liu et al. 2019, section 4.4).

A word carries the space before it, and the first word of a text has none unless the file says so.
In a corpus every run of whitespace counts as one space.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import CUT, END, Specials, Tokenizer, WordCounts, _definition

_STEPS = ("model", "pre_tokenizer", "normalizer")
_SPACE_SIGN = "Ġ"  # how a space is written in the vocabulary
_CUT = "\ud800"  # in no text: half of a surrogate pair
_CUT_BYTES = _CUT.encode("utf-8", "surrogatepass")


def build(word_counts: WordCounts, *, file: str = "") -> Tokenizer:
    """Reads a tokenizer; nothing is trained.

    Args:
      file: a `tokenizer.json`.

    Raises:
      DataError: no file is named.
      FormatError: the file cannot be read, is no byte-level BPE, or lacks a special token.
    """
    del word_counts
    option = f"config.data.tokenizer.options.file={file!r}"
    if not file:
        raise DataError(f"{option}: give the tokenizer.json of a byte-level BPE tokenizer")
    definition = foreign.read_json(Path(os.path.expanduser(file)), option)
    if not _is_byte_level(definition):
        raise FormatError(
            f"{option} is no byte-level BPE tokenizer; it must have a BPE model and cut text by ByteLevel"
        )
    vocabulary = foreign.typed(_Vocabulary, definition, option)
    plain = json.dumps(definition | {"truncation": None, "padding": None})
    specials = _specials(vocabulary)
    whole = _definition.completed(plain, dataclasses.astuple(specials), specials.cls, specials.sep, option)
    tokenizer = Tokenizer("byte_level", whole, specials, option)
    _definition.check_words(tokenizer, option)
    return tokenizer


@dataclasses.dataclass(frozen=True)
class _Model:
    vocab: dict[str, int]


@dataclasses.dataclass(frozen=True)
class _Added:
    content: str


@dataclasses.dataclass(frozen=True)
class _Vocabulary:
    """The pieces in a tokenizer.json."""

    model: _Model
    added_tokens: list[_Added]


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


def _is_byte_level(definition: Mapping[str, Any]) -> bool:
    types = [part.get("type") if isinstance(part := definition.get(name), dict) else part for name in _STEPS]
    return types == ["BPE", "ByteLevel", None]


def _specials(file: "_Vocabulary") -> Specials:
    vocabulary = set(file.model.vocab) | {token.content for token in file.added_tokens}
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

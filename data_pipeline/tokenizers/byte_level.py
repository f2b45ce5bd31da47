"""Byte-level BPE, as RoBERTa has it (Liu et al. 2019, section 4.4), trained here or given as a `tokenizer.json`.

A word carries the space before it. The first word of a text is taken to have one too in a tokenizer trained here, and
in a given one where its file says so.
In a corpus every run of whitespace counts as one space.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.tokenizers import Specials, Tokenizer, WordCounts, _definition
from data_pipeline.tokenizers._cutting import END, Words, at_spaces
from data_pipeline.tokenizers._training import check_options, learn_bpe, words_to_learn

GIVEN = "file"  # the option that names one
_STEPS = ("model", "pre_tokenizer")
_SPACE_SIGN = "Ġ"  # how a space is written in the vocabulary


def build(word_counts: WordCounts, *, file: str = "", vocab_size: int = 32000, lowercase: bool = False) -> Tokenizer:
    """Trains a tokenizer, or reads `file`.

    Args:
      file: a `tokenizer.json`; the other options are then its own.
      vocab_size: pieces, special tokens included.
      lowercase: folds upper case.

    Raises:
      DataError: the text does not support so large a vocabulary, or it is less than the bytes need.
      FormatError: the file cannot be read, is no byte-level BPE, or lacks a special token.
    """
    if not file:
        check_options(vocab_size)
        return Tokenizer("byte_level", _learnt(word_counts(), vocab_size, lowercase))
    option = f"config.data.tokenizer.options.file={file!r}"
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


def words(lines: Sequence[str], continued: Sequence[bool], backend: Any) -> Words:
    """Words with the space before them, which the first of a text has not."""
    del backend
    spaced = (" " * after + " ".join(line.split()) for line, after in zip(lines, continued, strict=True))
    return at_spaces(END.join([*spaced, ""]).encode())


def _learnt(counts: Mapping[str, int], vocab_size: int, lowercase: bool) -> str:
    """The `tokenizer.json` of a tokenizer that is trained."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    backend = tokenizers.Tokenizer(cast(Any, models.BPE()))
    backend.normalizer = cast(Any, normalizers.Lowercase() if lowercase else None)
    backend.pre_tokenizer = cast(Any, pre_tokenizers.ByteLevel(add_prefix_space=True))
    backend.decoder = cast(Any, decoders.ByteLevel())
    specials = Specials()
    # As in RoBERTa, [MASK] takes the space before it: the word that it stands for has its own.
    mask = tokenizers.AddedToken(specials.mask, lstrip=True, normalized=False, special=True)
    marked = [specials.pad, specials.unk, specials.cls, specials.sep, mask]
    words = words_to_learn(counts, lambda word: [word], unchanged=lambda word: True)
    learn_bpe(backend, words, vocab_size, pre_tokenizers.ByteLevel.alphabet(), specials=marked)
    return _definition.with_specials(backend, [], specials.cls, specials.sep)


def _is_byte_level(definition: Mapping[str, Any]) -> bool:
    types = [part.get("type") if isinstance(part := definition.get(name), dict) else part for name in _STEPS]
    return types == ["BPE", "ByteLevel"]


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

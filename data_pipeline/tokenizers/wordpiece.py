"""WordPiece, as BERT has it (Devlin et al. 2018; Google's tokenization.py), trained here or given as a `vocab.txt`.

Which pieces there are is learnt by BPE on the words that BERT's rules cut text into, a character that starts a word
being another one than the same within a word; how text is cut into them is WordPiece's: the longest piece first.
"""

import collections
import dataclasses
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.tokenizers import Specials, Tokenizer, WordCounts
from data_pipeline.tokenizers import words as words_between_spaces
from data_pipeline.tokenizers._cutting import Words
from data_pipeline.tokenizers._definition import with_specials
from data_pipeline.tokenizers._training import check_options, learn_bpe, words_to_learn

_CONTINUES = "##"
_MARKED = 0xF0000  # characters from here on are for private use: in training they stand for those within a word
_LARGEST = 1 << 26  # bytes of a vocab.txt; that of the largest multilingual BERT has 5 MB
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # no spaces are put around these
_CHINESE_LEAD = 0xE3  # the least first byte of a Chinese character in UTF-8

GIVEN = "vocab"  # the option that names a file
SENTENCES_ALONE = True  # they end with punctuation, which is a word of its own


def build(
    word_counts: WordCounts,
    *,
    vocab: str = "",
    vocab_size: int = 30522,
    character_coverage: float = 0.9999,
    lowercase: bool | None = None,
    strip_accents: bool | None = None,
    chinese_characters: bool = True,
) -> Tokenizer:
    """Trains a tokenizer, or reads the vocabulary `vocab`.

    Args:
      vocab: a file with one piece a line; the line's number is the id.
      vocab_size: pieces to train, special tokens included.
      character_coverage: share of the text's characters that get pieces in training; a word with another is [UNK].
      lowercase: folds upper case; by default where a given vocabulary has no capitals.
      strip_accents: takes accents off; by default where upper case is folded.
      chinese_characters: every Chinese character is a word.

    Raises:
      DataError: the text does not support so large a vocabulary, or needs a larger one.
      FormatError: the file cannot be read, is not a vocabulary, or lacks a special token.
    """
    if not vocab:
        check_options(vocab_size, character_coverage)
        rules = _rules(bool(lowercase), strip_accents, chinese_characters)
        pieces = _learnt(word_counts(), rules, vocab_size, character_coverage)
        return Tokenizer("wordpiece", _definition(pieces, rules))
    pieces = _read(vocab)
    if lowercase is None:
        lowercase = not any(re.match(r"(##)?[A-Z]", piece) for piece in pieces)
    definition = _definition(pieces, _rules(lowercase, strip_accents, chinese_characters))
    return Tokenizer("wordpiece", definition, name=_option(vocab))


def starts_word(piece: str) -> bool:
    return not piece.startswith(_CONTINUES)


def words(lines: Sequence[str], continued: Sequence[bool], backend: Any) -> Words:
    """The words between spaces; a Chinese character is a word if BERT's rules put spaces around it."""
    text, ends = words_between_spaces(lines, continued, backend)
    bytes_ = np.frombuffer(text, np.uint8)
    if not getattr(backend.normalizer, "handle_chinese_chars", False) or np.max(bytes_, initial=0) < _CHINESE_LEAD:
        return text, ends
    pairs = bytes_[:-1].astype(np.uint16) << 8 | bytes_[1:]  # the first two bytes say which characters are Chinese
    firsts = np.flatnonzero(((pairs >= 0xE390) & (pairs < 0xE4B7)) | ((pairs >= 0xE4B8) & (pairs < 0xE9C0)))
    is_end = np.zeros(len(text) + 1, bool)
    is_end[firsts] = is_end[firsts + 3] = is_end[ends] = True
    is_end[0] = False
    return text, np.flatnonzero(is_end).astype(np.int32)


def surface(piece: str) -> bytes:
    if piece.startswith(_CONTINUES) or _CHINESE.match(piece):
        return piece.removeprefix(_CONTINUES).encode()
    return f" {piece}".encode()


def _option(vocab: str) -> str:
    return f"config.data.tokenizer.options.vocab={vocab!r}"


def _read(vocab: str) -> list[str]:
    option = _option(vocab)
    text = foreign.read_text(Path(os.path.expanduser(vocab)), option, _LARGEST)
    pieces = [line.rstrip("\r") for line in text.removeprefix("\ufeff").removesuffix("\n").split("\n")]
    first: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if first.setdefault(piece, line) != line:
            raise FormatError(f"{option} has the piece {piece!r:.60} twice, in lines {first[piece]} and {line}")
    specials = Specials()
    missing = [piece for piece in (specials.unk, specials.cls, specials.sep) if piece not in pieces]
    if missing:
        raise FormatError(f"{option} lacks {', '.join(missing)}; is it a WordPiece vocabulary, one piece a line?")
    return pieces


def _rules(lowercase: bool, strip_accents: bool | None, chinese_characters: bool) -> Any:
    """The library's BERT normaliser."""
    from tokenizers import normalizers

    return normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese_characters,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )


def _learnt(counts: Mapping[str, int], rules: Any, vocab_size: int, coverage: float) -> list[str]:
    """The pieces of a vocabulary, special tokens first."""
    import tokenizers
    from tokenizers import models, pre_tokenizers

    cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    words = words_to_learn(counts, lambda word: (part for part, _ in cut(rules.normalize_str(word))))
    known = _commonest(words, coverage)
    words = [(word, count) for word, count in words if known.issuperset(word)]
    within = sorted({character for word, _ in words if len(word) > 1 for character in word})
    marked = {character: chr(_MARKED + i) for i, character in enumerate(within)}
    plain = {mark: character for character, mark in marked.items()}
    backend = tokenizers.Tokenizer(cast(Any, models.BPE()))
    seen = [(word[0] + "".join(map(marked.__getitem__, word[1:])), count) for word, count in words]
    specials = dataclasses.astuple(Specials())
    learn_bpe(backend, seen, vocab_size, {*known, *plain}, others=len(specials))
    pieces = sorted(backend.get_vocab().items(), key=lambda item: item[1])
    shown = (_CONTINUES * (piece[0] in plain) + "".join(plain.get(c, c) for c in piece) for piece, _ in pieces)
    return [*specials, *shown]


def _commonest(words: Sequence[tuple[str, int]], coverage: float) -> set[str]:
    """The commonest characters, which make this share of the text."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words:
        for character in word:
            counts[character] += count
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    before = itertools.accumulate((count for _, count in ordered), initial=0)
    wanted = coverage * counts.total()
    return {c for (c, _), total in zip(ordered, before, strict=False) if total < wanted and ord(c) < _MARKED}


def _definition(pieces: Sequence[str], rules: Any) -> str:
    """The `tokenizer.json`."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    specials = Specials()
    model: Any = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=specials.unk)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = rules
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES)
    return with_specials(tokenizer, dataclasses.astuple(specials), specials.cls, specials.sep)

"""WordPiece with a given `vocab.txt`, as BERT has it (Devlin et al. 2018; Google's tokenization.py)."""

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Specials, Tokenizer, WordCounts
from data_pipeline.tokenizers._definition import with_specials

_CONTINUES = "##"
_LARGEST = 1 << 26  # bytes of a vocab.txt; that of the largest multilingual BERT has 5 MB
_CHINESE = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")  # around these there are no spaces


SENTENCES_ALONE = True  # they end with punctuation, which stands by itself


def build(
    word_counts: WordCounts,
    *,
    vocab: str = "",
    lowercase: bool | None = None,
    strip_accents: bool | None = None,
    chinese_characters: bool = True,
) -> Tokenizer:
    """Reads a vocabulary; nothing is trained.

    Args:
      vocab: a file with one piece a line; the line's number is the id.
      lowercase: folds upper case; by default where the vocabulary has no capitals.
      strip_accents: takes accents off; by default where upper case is folded.
      chinese_characters: every Chinese character is a word.

    Raises:
      DataError: no file is named.
      FormatError: the file cannot be read, is not a vocabulary, or lacks a special token.
    """
    del word_counts
    pieces = _read(vocab)
    if lowercase is None:
        lowercase = not any(re.match(r"(##)?[A-Z]", piece) for piece in pieces)
    definition = _definition(pieces, lowercase, strip_accents, chinese_characters)
    return Tokenizer("wordpiece", definition, name=_option(vocab))


def starts_word(piece: str) -> bool:
    return not piece.startswith(_CONTINUES)


def surface(piece: str) -> bytes:
    if piece.startswith(_CONTINUES) or _CHINESE.match(piece):
        return piece.removeprefix(_CONTINUES).encode()
    return f" {piece}".encode()


def _option(vocab: str) -> str:
    return f"config.data.tokenizer.options.vocab={vocab!r}"


def _read(vocab: str) -> list[str]:
    option = _option(vocab)
    if not vocab:
        raise DataError(f"{option}: give the vocab.txt of a WordPiece tokenizer")
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


def _definition(pieces: list[str], lowercase: bool, strip_accents: bool | None, chinese_characters: bool) -> str:
    """The `tokenizer.json`."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    specials = Specials()
    model: Any = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=specials.unk)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese_characters,
        strip_accents=strip_accents,
        lowercase=lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES)
    return with_specials(tokenizer, dataclasses.astuple(specials), specials.cls, specials.sep)

"""SentencePiece: unigram (Kudo 2018) or BPE, trained here on the words of the corpus, or given.

Training happens on normalised words with their counts, by the SentencePiece library; the pieces and
scores become a `tokenizer.json`, which then does all the encoding (see the package's head). The
normaliser is ours: NFKC, control and invisible formatting characters removed, every run of
whitespace one space. It keeps the zero-width joiners, which Persian and Indic spelling needs.
"""

import dataclasses
import functools
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Specials, Tokenizer, WordCounts, _sentencepiece_model
from data_pipeline.tokenizers import _definition as definitions
from data_pipeline.tokenizers._by_model import by_model
from data_pipeline.tokenizers._cutting import END, LINE_END, OTHER, SPACE, Words, ends_of, joined, last_of_words
from data_pipeline.tokenizers._remembered import Encoded, sums_of_groups
from data_pipeline.tokenizers._training import CROSSES_RUNS, LONGEST_WORD, SCORE_STEP, check_options, words_to_learn

# Written out, so that the Unicode version of a library plays no part.
_INVISIBLE = (
    r"[\x{00}-\x{08}\x{0E}-\x{1B}\x{7F}-\x{84}\x{86}-\x{9F}\x{AD}\x{180E}\x{200B}\x{200E}\x{200F}"
    r"\x{202A}-\x{202E}\x{2060}-\x{2064}\x{2066}-\x{206F}\x{FE00}-\x{FE0F}\x{FEFF}\x{FFF9}-\x{FFFB}]"
)
_SPACES = (
    r"[\x{09}-\x{0D}\x{1C}-\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}"
    r"\x{2581}\x{3000}]+"
)
GIVEN = "model"  # the option that names a file
_SPACE_SIGN = "▁"
_LETTER, _NO_LETTER, _OF_SPECIALS = 1, 2, 8  # classes of bytes, beside those of words between spaces
_SEEDS_PER_PIECE = 3  # candidates that unigram training starts from; 10 take twice as long and give no fewer tokens
_LEAST_SEEDS = 100_000  # a text with so many supports any vocabulary that asks for fewer
_KEPT = 0.6  # share of the candidates that a round of unigram training keeps
_ESTIMATES = 1  # of their probabilities in a round; 0.75 kept after 2, as usual, take 1.3 to 1.6 times as long
_THREADS = 16  # fixed, since the rounding of the trainer's sums depends on it


def build(
    word_counts: WordCounts,
    *,
    vocab_size: int = 32000,
    algorithm: Literal["unigram", "bpe"] = "unigram",
    lowercase: bool = False,
    character_coverage: float = 0.9999,
    model: str = "",
) -> Tokenizer:
    """Trains a tokenizer, or reads `model`.

    Args:
      vocab_size: pieces, special tokens included.
      lowercase: folds upper case.
      character_coverage: share of the text's characters that get a piece of their own; the rest is [UNK].
      model: a SentencePiece `.model` file; the other options are then its own.

    Raises:
      DataError: the text does not support so large a vocabulary.
      FormatError: the model cannot be read or exported.
    """
    if model:
        return _given(model)
    check_options(vocab_size, character_coverage)
    normalizer = _normalizer(lowercase)
    parts = lambda word: normalizer.normalize_str(word).split(" ")
    words = words_to_learn(word_counts(), parts, unchanged=_unchanged(lowercase))
    proto = _train(words, vocab_size, algorithm, character_coverage)
    return Tokenizer("sentencepiece", _definition(proto, normalizer, Specials()))


def starts_word(piece: str) -> bool:
    return piece.startswith(_SPACE_SIGN)


def surface(piece: str) -> bytes:
    return piece.replace(_SPACE_SIGN, " ").encode()


def words(lines: Sequence[str], continued: Sequence[bool], backend: Any) -> Words:
    """The words between spaces, cut between letters and other characters of ASCII, where no piece goes across.

    A text has far fewer such runs than words. The ids are the same: every piece lies within one run, so the best
    pieces of a word are the best ones of each run. (The sums of a trained model's scores are exact.)
    """
    del continued  # every word has its sign of a space
    text = joined(lines)
    classes = np.frombuffer(text.translate(_classes(backend)), np.uint8)
    last = last_of_words(classes)
    cut = classes[:-1] + classes[1:] == _LETTER + _NO_LETTER
    if (whole := np.flatnonzero(classes == _OF_SPECIALS)).size:
        ends = ends_of(last)
        which = np.unique(np.searchsorted(ends, whole, "right"))
        for first, end in zip(np.where(which > 0, ends[which - 1], 0), ends[which], strict=True):
            cut[first : end - 1] = False
    last[:-1] |= cut
    return text, ends_of(last)


@functools.lru_cache(maxsize=4)
def _classes(backend: Any) -> bytes:
    """The class of each byte, as `bytes.translate` takes them."""
    specials = {token.content for token in backend.get_added_tokens_decoder().values()}
    pieces = backend.get_vocab(with_added_tokens=False).keys() - specials
    alone = {} if any(map(CROSSES_RUNS.search, pieces)) else _one_by_one(_normalize(backend))
    classes = {ord(" "): SPACE, ord(END): LINE_END}
    for character, normal in alone.items():
        if normal and normal.isascii() and pieces.issuperset(normal) and normal.isalpha() == character.isalpha():
            classes[ord(character)] = _LETTER if normal.isalpha() else _NO_LETTER
    classes |= dict.fromkeys(_lead_to({special[0] for special in specials}, _normalize(backend)), _OF_SPECIALS)
    return bytes(classes.get(byte, OTHER) for byte in range(256))


def _lead_to(wanted: set[str], normalize: Callable[[str], str]) -> list[int]:
    """First bytes, in UTF-8, of characters that may become one of those wanted, such as a full-width bracket.

    The normaliser looks for what follows these.
    """
    characters = [*map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x10000)])]
    by_first = itertools.groupby(characters, lambda character: character.encode()[0])
    found = [first for first, group in by_first if not wanted.isdisjoint(normalize(" ".join(group)))]
    return [*found, *range(0xF0, 0xF5)]  # the characters beyond are too many to try


def _normalize(backend: Any) -> Callable[[str], str]:
    return backend.normalizer.normalize_str if backend.normalizer else str


def _unchanged(lowercase: bool) -> Callable[[str], Any]:
    """Whether the normaliser leaves a word as it is, of most such words."""
    return re.compile(r"[!-@\\-~]+" if lowercase else r"[!-Z\\-~]+").fullmatch  # "[" starts special tokens


def _one_by_one(normalize: Callable[[str], str]) -> dict[str, str]:
    """What each printable character of ASCII becomes; nothing if one depends on another.

    No rule of SentencePiece's own joins three.
    """
    printable = [chr(code) for code in range(0x21, 0x7F)]
    alone = {character: normalize(character) for character in printable}
    pairs = [*itertools.product(printable, repeat=2)]
    together = normalize(" ".join(a + b for a, b in pairs))
    return alone if together == " ".join(alone[a] + alone[b] for a, b in pairs) else {}


def word_encoder(backend: Any) -> Callable[[Sequence[str]], Encoded]:
    """Encodes many words in one call of the library, by its model alone."""
    normalize, classes = _normalize(backend), _classes(backend)
    of_texts = by_model(backend, normalize)
    kept = [c for c in map(chr, range(0x21, 0x7F)) if classes[ord(c)] in (_LETTER, _NO_LETTER) and normalize(c) == c]
    is_kept = re.compile(f" ?[{re.escape(''.join(kept))}]+" if kept else "(?!)").fullmatch

    def parts_of(word: str) -> list[str]:
        """What the model takes of a word: each part with the sign of the space before it."""
        if is_kept(word):  # as most words
            return [word.replace(" ", _SPACE_SIGN)]
        spaced = word.startswith(" ")
        parts = enumerate(normalize(word[spaced:]).split(" "))
        return [_SPACE_SIGN * (spaced or i > 0) + part for i, part in parts if part]

    def encode(words: Sequence[str]) -> Encoded:
        parts = [parts_of(word) for word in words]
        texts = list(itertools.chain.from_iterable(parts))
        ids, lengths = of_texts(texts)
        sizes = np.fromiter(map(len, parts), np.int64, len(parts))
        return ids, sums_of_groups(lengths, sizes)

    return encode


def _normalizer(lowercase: bool) -> Any:
    from tokenizers import Regex, normalizers

    return normalizers.Sequence(
        [
            normalizers.NFKC(),
            *([normalizers.Lowercase()] if lowercase else []),
            normalizers.Replace(Regex(_INVISIBLE), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            *_broken_up(dataclasses.astuple(Specials())),
            normalizers.Strip(),
        ]
    )


def _broken_up(specials: Iterable[str]) -> list[Any]:
    """Normalisers that keep special tokens out of the text: of a corpus, or written in full-width characters.

    In text where they are meant they were taken out before; here a space in them makes them text.
    """
    from tokenizers import Regex, normalizers

    return [
        normalizers.Replace(Regex(f"{re.escape(special[0])}(?={re.escape(special[1:])})"), f"{special[0]} ")
        for special in specials
    ]


def _train(words: list[tuple[str, int]], vocab_size: int, algorithm: str, coverage: float) -> Any:
    """The trained model, as the library's protocol buffer."""
    import sentencepiece

    specials = Specials()
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(f"{word}\t{count}" for word, count in words),
            input_format="tsv",
            model_writer=model,
            vocab_size=vocab_size,
            model_type=algorithm,
            character_coverage=coverage,
            normalization_rule_name="identity",
            seed_sentencepiece_size=max(_SEEDS_PER_PIECE * vocab_size, _LEAST_SEEDS),
            shrinking_factor=_KEPT,
            num_sub_iterations=_ESTIMATES,
            num_threads=_THREADS,
            minloglevel=3,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece=specials.pad,
            unk_piece=specials.unk,
            bos_piece=specials.cls,
            eos_piece=specials.sep,
            control_symbols=[specials.mask],
        )
    except RuntimeError as error:
        raise _vocabulary_error(str(error), vocab_size) from error
    proto = _sentencepiece_model.parse(model.getvalue())
    for piece in proto.pieces:
        piece.score = round(piece.score / SCORE_STEP) * SCORE_STEP
    return proto


def _vocabulary_error(message: str, vocab_size: int) -> Exception:
    field = f"config.data.tokenizer.options.vocab_size={vocab_size}"
    if most := re.search(r"set it to a value <= (\d+)", message):
        return DataError(f"{field} is more than the text supports; the largest that works is {most[1]}")
    if least := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return DataError(f"{field} is less than the text's characters need; the smallest that works is {least[1]}")
    return DataError(f"{field}: the tokenizer could not be trained: {message}")


def _given(path: str) -> Tokenizer:
    from google.protobuf.message import DecodeError

    option = f"config.data.tokenizer.options.model={path!r}"
    written = foreign.read_bytes(Path(os.path.expanduser(path)), option)
    try:
        proto = _sentencepiece_model.parse(written)
    except DecodeError:
        proto = None
    if proto is None or not proto.pieces:
        raise FormatError(f"{option} is not a SentencePiece model")
    _check_pieces(proto, option)
    _check_given(proto, path)
    specials = _given_specials(proto)
    definition = _definition(proto, _given_normalizer(proto), specials)
    tokenizer = Tokenizer("sentencepiece", definition, specials, option)
    definitions.check_words(tokenizer, option)
    return tokenizer


def _check_pieces(proto: Any, option: str) -> None:
    """What the trainer always does, and a damaged model may not."""
    pieces = [piece.piece for piece in proto.pieces]
    texts = [piece for piece in pieces if isinstance(piece, str)]  # what is not UTF-8 comes as bytes
    unknown = [piece.piece for piece in proto.pieces if piece.type == piece.UNKNOWN]
    charsmap = proto.normalizer_spec.precompiled_charsmap
    if len(texts) < len(pieces) or not all(texts) or len(max(texts, key=len)) > LONGEST_WORD:
        raise FormatError(f"{option} is damaged: a piece is empty, not UTF-8, or above {LONGEST_WORD} characters")
    if len(set(texts)) < len(texts) or len(unknown) != 1:
        raise FormatError(f"{option} is damaged: it has a piece twice, or {len(unknown)} unknown pieces instead of 1")
    if not all(math.isfinite(piece.score) for piece in proto.pieces):
        raise FormatError(f"{option} is damaged: a piece's score is not a number")
    if charsmap:
        definitions.check_charsmap(charsmap, option)


def _check_given(proto: Any, path: str) -> None:
    """What the ids of a text being those of its words asks of a model."""
    unfit = next((p.piece for p in proto.pieces if _SPACE_SIGN in p.piece.lstrip(_SPACE_SIGN)), None)
    if proto.trainer_spec.model_type not in (1, 2):
        raise FormatError(f"{path}: its pieces are neither unigram nor BPE; give a model of one of these")
    if unfit is not None:
        raise FormatError(f"{path}: the piece {unfit!r} goes across words; train it with split_by_whitespace")
    if proto.trainer_spec.treat_whitespace_as_suffix:
        raise FormatError(f"{path}: whitespace ends its pieces; train it without treat_whitespace_as_suffix")
    spec = proto.normalizer_spec
    if not (spec.add_dummy_prefix and spec.remove_extra_whitespaces and spec.escape_whitespaces):
        raise FormatError(f"{path}: it keeps whitespace as it is; train it with the default whitespace rules")


def _given_normalizer(proto: Any) -> Any:
    from tokenizers import Regex, normalizers

    charsmap = proto.normalizer_spec.precompiled_charsmap
    return normalizers.Sequence(
        [
            *([normalizers.Precompiled(charsmap)] if charsmap else []),
            normalizers.Replace(Regex(f"[ {_SPACE_SIGN}]+"), " "),
            *_broken_up([piece.piece for piece in proto.pieces if piece.type in (piece.UNKNOWN, piece.CONTROL)]),
            normalizers.Strip(),
        ]
    )


def _given_specials(proto: Any) -> Specials:
    """The model's own special tokens under whichever usual names it has them; missing ones are added at the end."""
    pieces = {piece.piece for piece in proto.pieces}
    usual = {
        "pad": ("[PAD]", "<pad>"),
        "cls": ("[CLS]", "<s>"),
        "sep": ("[SEP]", "</s>"),
        "mask": ("[MASK]", "<mask>"),
    }
    found = {name: next((w for w in written if w in pieces), written[0]) for name, written in usual.items()}
    unknown = next(piece.piece for piece in proto.pieces if piece.type == piece.UNKNOWN)
    return Specials(unk=unknown, **found)


def _definition(proto: Any, normalizer: Any, specials: Specials) -> str:
    """The `tokenizer.json` of a SentencePiece model."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    pieces = [piece.piece for piece in proto.pieces]
    model: Any
    if proto.trainer_spec.model_type == 2:
        vocabulary = {piece: i for i, piece in enumerate(pieces)}
        model = models.BPE(vocabulary, _merges(vocabulary), unk_token=specials.unk, fuse_unk=True)
    else:
        scores = [(piece.piece, piece.score) for piece in proto.pieces]
        model = models.Unigram(scores, unk_id=pieces.index(specials.unk), byte_fallback=False)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    return definitions.with_specials(tokenizer, dataclasses.astuple(specials), specials.cls, specials.sep)


def _merges(vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs of pieces that join to a piece, the piece learnt first before the others."""
    pairs = []
    for piece in vocabulary:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                pairs.append((vocabulary[piece], vocabulary[left], (left, right)))
    return [pair for _, _, pair in sorted(pairs)]

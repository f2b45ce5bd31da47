"""What all kinds of tokenizers that are trained share: which words they learn from, and the trainer of BPE."""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from configuration.variants import require
from data_pipeline.errors import DataError

MOST_PIECES = 1 << 24
LONGEST_WORD = 500  # characters; longer ones are cut for training
_TRAINING_CHARACTERS = 4_000_000  # of different words, the commonest first: more changes little and costs minutes
_WEIGHTED_CHARACTERS = 40_000_000  # of all words: trainers see a word as often as it counts, at 13 bytes each
LONGEST_PIECE = 48  # characters, or bytes
LEAST_COUNT = 2  # of a pair that is joined to a piece
SCORE_STEP = 2**-12  # in multiples of which every reader of JSON gives scores back exactly, and their sums are exact
CROSSES_RUNS = re.compile(r"[A-Za-z][!-@\[-`{-~]|[!-@\[-`{-~][A-Za-z]")  # a letter beside another character, in ASCII


def check_options(vocab_size: int, coverage: float = 1.0) -> None:
    """Raises ConfigError for a size or a coverage that no vocabulary can have, before any text is read."""
    where = "data.tokenizer.options"
    require(1 <= vocab_size <= MOST_PIECES, f"{where}.vocab_size", vocab_size, f"1 to {MOST_PIECES:,} pieces")
    require(0 < coverage <= 1, f"{where}.character_coverage", coverage, "above 0, and at most 1")


def words_to_learn(
    counts: Mapping[str, int],
    parts: Callable[[str], Iterable[str]],
    unchanged: Callable[[str], Any] = lambda word: False,
) -> list[tuple[str, int]]:
    """The words that training sees and their weights, in an order that does not depend on how they were counted.

    Args:
      parts: what the tokenizer makes of a word of the text before it cuts it into pieces.
      unchanged: true of words whose only part is the word, where that is quicker to see.

    Raises:
      DataError: there is no word.
    """
    normalised = {word: count for word, count in counts.items() if unchanged(word) and len(word) <= LONGEST_WORD}
    for word in counts.keys() - normalised.keys():
        for part in parts(word):
            for start in range(0, len(part), LONGEST_WORD):
                piece = part[start : start + LONGEST_WORD]
                normalised[piece] = normalised.get(piece, 0) + counts[word]
    if not normalised:
        raise DataError("there is no word to train a tokenizer on; config.data.sources holds no text")
    return _weighed(*_commonest(normalised, _TRAINING_CHARACTERS))


def _commonest(counts: Mapping[str, int], characters: int) -> tuple[list[str], np.ndarray]:
    """As many words as have these characters together, the commonest first, and their counts.

    Words of one count are in the order of a hash: what is left out must not be the alphabet's end.
    """
    words = list(counts)
    times = np.fromiter(counts.values(), np.int64, len(words))
    hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), np.uint32, len(words))
    order = np.lexsort((hashes, -times))
    alike = (np.diff(times[order]) == 0) & (np.diff(hashes[order]) == 0)
    for end in np.flatnonzero(alike) + 1:  # a few pairs in a million words
        for place in range(end, 0, -1):
            pair = order[place - 1 : place + 1]
            if not alike[place - 1] or words[pair[0]] < words[pair[1]]:
                break
            order[place - 1 : place + 1] = pair[::-1]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    taken = order[: np.searchsorted(lengths[order].cumsum(), characters, "right")]
    return [words[i] for i in taken.tolist()], times[taken]


def _weighed(words: Sequence[str], counts: np.ndarray) -> list[tuple[str, int]]:
    """Counts scaled down, none below 1, if the trainer's memory would grow with the text."""
    weighted = int(np.fromiter(map(len, words), np.int64, len(words)) @ counts)
    share = min(1.0, _WEIGHTED_CHARACTERS / max(1, weighted))
    scaled = np.maximum(1, np.rint(counts * share).astype(np.int64))
    return list(zip(words, scaled.tolist(), strict=True))


def learn_bpe(
    backend: Any,
    words: Sequence[tuple[str, int]],
    vocab_size: int,
    alphabet: Iterable[str],
    *,
    specials: Sequence[Any] = (),
    others: int = 0,
) -> None:
    """Trains a BPE model of the library `tokenizers`, the same one of the same words every time.

    Args:
      alphabet: characters that get a piece whatever their count.
      specials: the first pieces, as text or as the library's `AddedToken`.
      others: pieces of `vocab_size` that are added later.

    Raises:
      DataError: the text has fewer pieces, or more characters.
    """
    from tokenizers import trainers

    needed = sorted(alphabet)
    option = f"config.data.tokenizer.options.vocab_size={vocab_size}"
    if (least := len(needed) + len(specials) + others) > vocab_size:
        raise DataError(f"{option} is less than the text's characters need; the smallest that works is {least}")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - others,
        min_frequency=LEAST_COUNT,
        special_tokens=list(specials),
        initial_alphabet=needed,
        max_token_length=LONGEST_PIECE,
        show_progress=False,
    )
    backend.train_from_iterator(([word] * count for word, count in words), trainer)
    if (most := backend.get_vocab_size() + others) < vocab_size:
        raise DataError(f"{option} is more than the text supports; the largest that works is {most}")

"""The tokenizer in the folder of a checkpoint, of any kind: that of `config.init_from`, with new pieces if wanted."""

from pathlib import Path

from configuration.variants import require
from data_pipeline import checkpoint_tokenizer
from data_pipeline.errors import DataError
from data_pipeline.new_pieces import extended
from data_pipeline.tokenizers import Tokenizer, WordCounts
from data_pipeline.tokenizers._training import MOST_PIECES


def build(word_counts: WordCounts, *, folder: str = "", new_pieces: int = 0) -> Tokenizer:
    """Reads a tokenizer, of the kind that its own file says; learns no more than new pieces.

    Args:
      folder: of a checkpoint or a store: ours, or one with `tokenizer.json` or `vocab.txt`.
      new_pieces: how many pieces it gets from the training text beside its own.

    Raises:
      ConfigError, DataError: no tokenizer there, one that this project lacks, or more new pieces than the text has.
    """
    check(new_pieces)
    found = read(folder)
    return extended(found, word_counts, new_pieces) if new_pieces else found


def size(*, folder: str = "", new_pieces: int = 0) -> int | None:
    """The number of pieces that `build` gives; None where the tokenizer stays as it is."""
    check(new_pieces)
    return read(folder).vocab_size + new_pieces if new_pieces else None


def check(new_pieces: int) -> None:
    """Raises ConfigError for a number of new pieces that no vocabulary can have."""
    require(0 <= new_pieces <= MOST_PIECES, "data.tokenizer.options.new_pieces", new_pieces, f"0 to {MOST_PIECES:,}")


def read(folder: str) -> Tokenizer:
    """The tokenizer that is there."""
    found = checkpoint_tokenizer.read(Path(folder)) if folder else None
    if found is None:
        raise DataError(
            f"config.data.tokenizer.options.folder={folder!r} has none of tokenizer/, tokenizer.json, vocab.txt"
        )
    return found

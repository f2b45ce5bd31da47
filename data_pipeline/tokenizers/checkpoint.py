"""The tokenizer in the folder of a checkpoint, of any kind: that of `config.init_from`."""

from pathlib import Path

from data_pipeline import checkpoint_tokenizer
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import Tokenizer, WordCounts


def build(word_counts: WordCounts, *, folder: str = "") -> Tokenizer:
    """Reads a tokenizer; nothing is trained. It is of the kind that its own file says.

    Args:
      folder: of a checkpoint or a store: ours, or one with `tokenizer.json` or `vocab.txt`.

    Raises:
      ConfigError, DataError: no tokenizer there, or one that this project lacks.
    """
    del word_counts
    found = checkpoint_tokenizer.read(Path(folder)) if folder else None
    if found is None:
        raise DataError(
            f"config.data.tokenizer.options.folder={folder!r} has none of tokenizer/, tokenizer.json, vocab.txt"
        )
    return found

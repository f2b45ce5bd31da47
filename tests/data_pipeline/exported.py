"""A tokenizer as the library transformers opens its export."""

from pathlib import Path
from typing import Any

import pytest

from data_pipeline.tokenizers import Tokenizer


def in_transformers(tokenizer: Tokenizer, folder: Path, max_length: int = 100_000) -> Any:
    """Exports the tokenizer to the folder and opens it; the test is skipped where the library is not installed."""
    transformers = pytest.importorskip("transformers")
    tokenizer.export_huggingface(folder, max_length=max_length)
    return transformers.AutoTokenizer.from_pretrained(folder)

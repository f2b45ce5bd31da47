"""A tokenizer is used again."""

import pytest

from configuration import variants
from configuration.variants import use
from data_pipeline.errors import DataError


def build(**options):
    return variants.load("data_pipeline.tokenizers", use("existing", **options))(dict)


def test_the_same_tokenizer(tmp_path):
    train = variants.load("data_pipeline.tokenizers", use("sentencepiece", vocab_size=16))
    tokenizer = train(lambda: {"stream": 3, "streams": 2, "dream": 5})
    tokenizer.save(tmp_path)
    again = build(folder=str(tmp_path))
    assert again.kind == "sentencepiece"
    assert again.fingerprint == tokenizer.fingerprint


def test_no_tokenizer(tmp_path):
    with pytest.raises(DataError, match=r"kind\.json is missing: .*none holds no tokenizer"):
        build(folder=str(tmp_path / "none"))

"""Texts met before get the ids that they would get anew, whatever was forgotten in between."""

import numpy as np
import pytest

from data_pipeline.tokenizers import load_tokenizer
from data_pipeline.tokenizers._remembered import Remembered, one_after_the_other, sums_of_groups
from data_pipeline.tokenizers.sentencepiece import build


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_ids_are_those_of_each_text(most: int) -> None:
    rng = np.random.default_rng(most)
    encoded: list[str] = []

    def encode(texts):
        assert len(set(texts)) == len(texts)
        encoded.extend(texts)
        return one_after_the_other([[ord(c) for c in text] for text in texts])

    remembered = Remembered(encode, "", most)
    for size in (5, 0, 20, 1, 33):
        texts = ["".join(rng.choice(list("abc"), rng.integers(0, 4))) for _ in range(size)]
        ids, lengths = remembered.ids(remembered.numbers(texts))
        assert ids.tolist() == [ord(c) for text in texts for c in text]
        assert lengths.tolist() == [len(text) for text in texts]
    assert "" not in encoded
    assert (len(encoded) > len(set(encoded))) == (most < 1000)


def test_sums_of_groups_sums_over_empty_ones_too() -> None:
    lengths, sizes = np.array([3, 0, 4, 1]), np.array([0, 2, 0, 1, 1, 0])
    assert sums_of_groups(lengths, sizes).tolist() == [0, 3, 0, 4, 1, 0]
    assert sums_of_groups(np.zeros(0, np.int64), np.zeros(3, np.int64)).tolist() == [0, 0, 0]


def test_a_corpus_has_the_ids_of_its_lines_when_words_are_forgotten(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("data_pipeline.tokenizers._REMEMBERED_WORDS", 5)
    words = {"the": 90, "cat": 40, "cat's": 9, "sat.": 30, "“mat”": 12, "naïve": 8, "1,024": 5, "re-sat": 4}
    build(lambda: words, vocab_size=30).save(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    rng = np.random.default_rng(0)
    for _ in range(4):
        lines = [" ".join(rng.choice(list(words), rng.integers(0, 9))) for _ in range(12)]
        tokens, lengths = tokenizer.encode_lines(lines)
        assert tokens.tolist() == [i for line in lines for i in tokenizer.encode(line)]
        assert lengths.tolist() == [len(tokenizer.encode(line)) for line in lines]

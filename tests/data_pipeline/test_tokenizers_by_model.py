"""The quicker library gives the same ids as `tokenizers`, wherever it is taken."""

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.tokenizers import _by_model

KNOWN, UNKNOWN = "abé▁日", "xYß本"
SCORES = [float(np.float32(score)) for score in (-0.1, -1, -2.7, -4, -4, -13.1)]  # few, so that many sums are equal


def unigram(pieces: dict[str, float], **options) -> tokenizers.Tokenizer:
    """Its specials are [PAD] and [UNK]."""
    vocab = [("[PAD]", 0.0), ("[UNK]", 0.0), *pieces.items()]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram(vocab, unk_id=1, **options))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    return tokenizer


scores = st.sampled_from(SCORES)
longer = st.dictionaries(st.text(KNOWN, min_size=2, max_size=5), scores, max_size=40)
characters = st.fixed_dictionaries(dict.fromkeys(KNOWN, scores))
texts = st.lists(st.text(KNOWN + UNKNOWN, max_size=30), max_size=20)


@settings(max_examples=500, deadline=None)
@given(characters=characters, longer=longer, texts=texts)
def test_both_libraries_give_the_same_ids(characters, longer, texts):
    backend = unigram(characters | longer)
    definition = json.loads(backend.to_str())
    assert _by_model.is_plain(definition["model"], ["[PAD]", "[UNK]"])
    ids, lengths = _by_model.by_kitoken(definition)(texts)
    wanted_ids, wanted_lengths = _by_model.by_tokenizers(backend)(texts)
    np.testing.assert_array_equal(lengths, wanted_lengths)
    np.testing.assert_array_equal(ids, wanted_ids)
    assert ids.dtype == wanted_ids.dtype


PLAIN = dict.fromkeys("ab", -1.0) | {"ab": -1.5}


@pytest.mark.parametrize(
    ("pieces", "options", "plain"),
    [
        (PLAIN, {}, True),
        (PLAIN | {"bc": -1.0}, {}, False),  # c is no piece
        (PLAIN | {"ba": -0.1}, {}, False),  # no float32
        (PLAIN, {"byte_fallback": True}, False),
    ],
)
def test_where_they_might_differ_it_is_not_taken(monkeypatch, pieces, options, plain):
    taken = []
    monkeypatch.setattr(_by_model, "by_kitoken", taken.append)
    spaced = lambda text: text.replace("[", "[ ")
    backend = unigram(pieces, **options)
    _by_model.by_model(backend, spaced)
    assert bool(taken) == plain
    taken.clear()
    _by_model.by_model(backend, str)  # a special token in the text would stay whole
    assert not taken


def test_other_kinds_of_models_are_left_alone():
    merged = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    ids, lengths = _by_model.by_model(merged, str)(["ab", "", "aab"])
    assert (ids.tolist(), lengths.tolist()) == ([2, 0, 2], [1, 0, 2])

"""Words, runs and classes of characters, counted by arrays, against the standard library's own view of the text."""

import collections
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.cleaning import _words, characters, near_duplicates, repetition
from data_pipeline.cleaning._words import runs_in, words_of

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
ALPHABET = "aAbB9_ .,-\n\tÀİßſΣ中文、。ーカガ\u0301\u3000٣²½Ⅳ😀𠮷\U0003ffff\U0010ffff"
few = settings(max_examples=200, deadline=None, derandomize=True)
texts = st.text(st.sampled_from(ALPHABET), max_size=60) | st.text(max_size=30)


@few
@given(texts)
def test_words_are_those_of_the_regular_expression(text):
    wanted, found = WORD.findall(text.lower()), words_of(text)
    assert found.lengths.tolist() == list(map(len, wanted))
    assert len(set(found.hashes.tolist())) == len(set(wanted))
    assert len(set(zip(found.hashes.tolist(), wanted, strict=True))) == len(set(wanted))


@few
@given(texts, texts, st.integers(1, 12))
def test_a_run_has_the_same_hash_wherever_it_stands(text, before, length):
    words = WORD.findall(text.lower())
    runs = runs_in(text, length).tolist()
    wanted = [tuple(words[i : i + length]) for i in range(max(1, len(words) - length + 1))] if words else []
    assert len(runs) == len(wanted)
    assert len(set(zip(runs, wanted, strict=True))) == len(set(runs)) == len(set(wanted))
    if len(words) >= length:
        moved = runs_in(f"{before}\n{text}", length)
        assert moved[len(moved) - len(runs) :].tolist() == runs


def test_a_long_text_is_read_in_stretches(monkeypatch):
    text = "some words of one text, one after the other; " * 5
    whole = words_of(text)
    monkeypatch.setattr(_words, "_AT_ONCE", len("some words of one text, "))
    words_of.cache_clear()
    cut = words_of(text)
    words_of.cache_clear()
    assert cut.lengths.sum() == whole.lengths.sum()
    assert np.isin(whole.hashes[:5], cut.hashes).all()


@few
@given(texts)
def test_shares_are_those_of_the_unicode_categories(text):
    shown = [c for c in text if not c.isspace()]
    kinds = collections.Counter(unicodedata.category(c)[0] for c in shown)
    letters = kinds["L"] + kinds["M"]
    for limit in (0.0, 0.3, 0.5, 1.0):
        wanted = ""
        if not shown or letters < limit * len(shown):
            wanted = "few letters"
        elif kinds["N"] > (1 - limit) * len(shown):
            wanted = "many digits"
        elif kinds["S"] > limit * len(shown):
            wanted = "many symbols"
        rule = characters.build(letters=limit, digits=1 - limit, symbols=limit)
        assert rule.reason(text) == wanted


@pytest.mark.parametrize("seed", range(5))
def test_repeated_runs_are_those_of_a_plain_count(seed):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(200)]
    for size in (2, 5, 10):
        met, again = set(), np.zeros(len(words), bool)
        for i in range(len(words) - size + 1):
            run = tuple(words[i : i + size])
            again[i : i + size] |= run in met
            met.add(run)
        lengths = np.array(list(map(len, words)))
        found = repetition._in_runs_again(runs_in(" ".join(words), size), lengths, size)
        assert found == pytest.approx(lengths[again].sum() / lengths.sum())


def test_signatures_estimate_the_likeness_of_sets_of_runs():
    """The share of equal numbers has the standard deviation of a binomial share, and no bias over many pairs."""
    rng, vocabulary = np.random.default_rng(0), [f"w{i}" for i in range(5000)]
    signature, errors = near_duplicates._Signature(5, 128), []
    for _ in range(200):
        words = rng.choice(vocabulary, 150).tolist()
        other = words[: rng.integers(1, 150)] + rng.choice(vocabulary, 60).tolist()
        a, b = (set(runs_in(" ".join(x), 5).tolist()) for x in (words, other))
        likeness = len(a & b) / len(a | b)
        found = (signature(" ".join(words)) == signature(" ".join(other))).mean()
        errors.append((found - likeness) / max(np.sqrt(likeness * (1 - likeness) / 128), 1e-3))
    assert abs(np.mean(errors)) < 4 / np.sqrt(len(errors))
    assert np.std(errors) < 1.3


def test_texts_without_a_word_are_alike_if_they_are_equal():
    signature = near_duplicates._Signature(5, 16)
    assert (signature("... !") == signature("... !")).all()
    assert not (signature("... !") == signature("??")).any()

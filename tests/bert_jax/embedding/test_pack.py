"""Packed rows: every text once, little padding, few shapes, and a plan that is quick."""

import time

import numpy as np
import pytest

from bert_jax.embedding import pack


def make_lengths(number: int, longest: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(3.2, 0.7, number)), 2, longest).astype(int).tolist()


@pytest.mark.parametrize("number", [1, 2, 7, 500])
def test_every_text_stands_whole_in_one_place(number: int) -> None:
    rng = np.random.default_rng(number)
    texts = [rng.integers(1, 99, n).tolist() for n in make_lengths(number, 100)]
    found = {}
    for packed in pack.batches(texts, pack.row_lengths(100), 512, 64):
        assert packed.tokens.size <= 512
        for tokens, segments, positions, numbers in zip(*packed, strict=True):
            for k, text in enumerate(numbers):
                if text != pack.EMPTY:
                    assert text not in found
                    found[int(text)] = tokens[segments == k + 1].tolist()
                    assert positions[segments == k + 1].tolist() == list(range(len(found[int(text)])))
            assert segments.max(initial=0) == (numbers != pack.EMPTY).sum()
    assert found == dict(enumerate(texts))


def test_hardly_any_of_a_row_is_padding_and_shapes_are_few() -> None:
    for longest in (128, 512):
        counts = make_lengths(5000, longest)
        batches = list(pack.batches([[1] * n for n in counts], pack.row_lengths(longest), 32 * longest, 768))
        padded = sum(b.tokens.size for b in batches)
        assert sum(counts) / padded > 0.97
        assert len({b.tokens.shape for b in batches}) <= 5 * len(pack.row_lengths(longest))


def test_rows_of_one_length_waste_the_least_that_they_can() -> None:
    ((length, rows),) = pack.plan([120] * 40, pack.row_lengths(512), 768).items()
    assert (length, len(rows)) == (128, 40)


def test_the_plan_of_many_texts_takes_a_moment_and_is_always_the_same() -> None:
    counts = make_lengths(100_000, 512)
    began = time.process_time()
    plan = pack.plan(counts, pack.row_lengths(512), 768)
    assert time.process_time() - began < 10
    assert plan == pack.plan(counts, pack.row_lengths(512), 768)


def test_the_last_batches_have_powers_of_two_of_rows() -> None:
    assert pack.sizes(13, 8) == [8, 4, 1]
    assert pack.sizes(100, 40) == [40, 40, 16, 4]
    assert pack.sizes(102, 40) == [40, 40, 16, 4, 4]  # not below an eighth: each size is compiled
    assert pack.sizes(3, 512) == [4]
    assert pack.sizes(1, 512) == [1]
    assert pack.sizes(1, 1) == [1]


def test_row_lengths_end_at_the_longest() -> None:
    assert pack.row_lengths(100) == (32, 64, 96, 100)
    assert pack.row_lengths(512)[-2:] == (384, 512)
    assert pack.row_lengths(2000)[-3:] == (1024, 1536, 2000)

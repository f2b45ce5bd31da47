import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from texts import offsets

from data_pipeline.rows import Spans, best_fit, specials


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=120), capacity=st.integers(30, 50))
def test_items_go_where_best_fit_decreasing_puts_them_one_by_one(sizes, capacity):
    row = best_fit.best_fit(np.array(sizes), capacity)
    filled = np.bincount(row, sizes).astype(int)
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [room for room in rooms if room >= size]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - size)
    assert sorted(filled) == sorted(capacity - room for room in rooms)


@pytest.mark.parametrize("isolate", [True, False])
@given(
    documents=st.lists(st.lists(st.integers(0, 30), max_size=5), min_size=1, max_size=30),
    length=st.integers(8, 40),
    block=st.integers(1, 40),
)
def test_every_token_in_one_row_and_documents_whole_where_they_fit(isolate, documents, length, block):
    row_format = best_fit.build(length, isolate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(best_fit, "_BLOCK", block)
        blocks = list(row_format.spans(offsets(documents)))
    sizes = np.array([sum(d) for d in documents])
    if not sizes.sum():
        assert not blocks
        return
    spans = Spans(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))
    seen = np.concatenate([np.arange(s, s + n) for s, n in zip(spans.starts, spans.lengths, strict=True)])
    assert np.array_equal(np.sort(seen), np.arange(sizes.sum()))
    firsts = np.cumsum(spans.counts) - spans.counts
    filled = np.add.reduceat(spans.lengths, firsts) + specials(spans.counts, row_format.opening)
    assert filled.max() <= length
    pieces = np.bincount(spans.documents, minlength=len(documents))
    assert np.array_equal(pieces, -(-sizes // (length - 2)))


def test_rows_of_documents_of_natural_lengths_are_nearly_full():
    lengths = np.random.default_rng(0).lognormal(5.5, 1, 20_000).astype(int) + 1  # median 245 tokens
    (spans,) = best_fit.build(512, True).spans(offsets([[n] for n in lengths]))
    filled = (spans.lengths + 2).sum() / (512 * len(spans.counts))
    assert filled > 0.995

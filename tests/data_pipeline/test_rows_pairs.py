"""Pair formats: segment_pair and sentence_pair, with next-sentence and sentence-order labels."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from texts import FIRST, SPECIALS, offsets, store

from configuration.variants import ConfigError, load, use
from data_pipeline.batches import pipeline
from data_pipeline.errors import DataError
from data_pipeline.rows import Spans, _units

DOCUMENTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=8)
CORPUS = [[(7 * d + 5 * s) % 23 + 1 for s in range(d % 6 + 1)] for d in range(60)]
LENGTH = 37


def pairs_of(name: str, documents: list[list[int]], length: int, block: int = 1 << 18) -> Spans:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_units, "_BLOCK", block)
        blocks = list(load("data_pipeline.rows", use(name))(length, True).spans(offsets(documents)))
    if not blocks:
        return Spans(*(np.zeros(0, np.int64) for _ in Spans._fields))
    return Spans(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))


@pytest.mark.parametrize("name", ["segment_pair", "sentence_pair"])
@given(documents=DOCUMENTS, length=st.integers(8, 60), block=st.integers(1, 6))
def test_parts_follow_each_other_in_one_document_and_fit(name, documents, length, block):
    spans = pairs_of(name, documents, length)
    assume(len(spans.counts))
    for whole, part in zip(spans, pairs_of(name, documents, length, block), strict=True):
        assert np.array_equal(whole, part)
    assert set(spans.counts) == {2}
    starts, lengths = spans.starts.reshape(-1, 2), spans.lengths.reshape(-1, 2)
    assert lengths.min() >= 1
    assert lengths.sum(1).max() <= length - 3
    assert np.array_equal(starts[:, 0] + lengths[:, 0], starts[:, 1])
    document_of_token = np.repeat(np.arange(len(documents)), [sum(d) for d in documents])
    assert np.array_equal(document_of_token[starts[:, 0]], spans.documents[::2])
    assert np.array_equal(document_of_token[starts[:, 1] + lengths[:, 1] - 1], spans.documents[::2])


@given(documents=DOCUMENTS, length=st.integers(8, 60))
def test_segments_use_every_token_once_except_single_ones(documents, length):
    spans = pairs_of("segment_pair", documents, length)
    seen = [t for s, n in zip(spans.starts, spans.lengths, strict=True) for t in range(s, s + n)]
    assert len(set(seen)) == len(seen)
    rows = load("data_pipeline.rows", use("doc_sentences"))(length - 1, True).spans(offsets(documents))
    single = sum(int((block.lengths == 1).sum()) for block in rows)
    assert len(seen) == sum(map(sum, documents)) - single


def test_segments_end_at_sentences_and_every_end_is_drawn():
    ends = {int(n) for d in range(40) for n in pairs_of("segment_pair", [[d + 1], [3, 4, 5]], 80).lengths[2:3]}
    assert ends == {3, 7}


def test_a_single_sentence_is_cut_in_its_middle():
    assert pairs_of("segment_pair", [[9]], 40).lengths.tolist() == [4, 5]


def test_sentences_are_paired_with_their_neighbours():
    spans = pairs_of("sentence_pair", [[2, 3, 4, 5], [6], [1, 2, 3]], 40)
    assert spans.starts.reshape(-1, 2).tolist() == [[0, 2], [5, 9], [20, 21], [21, 23]]
    assert spans.lengths.reshape(-1, 2).tolist() == [[2, 3], [4, 5], [1, 2], [2, 3]]


def parts(batch):
    """The two texts of each row, as lists of tokens; checks the layout [CLS] A [SEP] B [SEP]."""
    for tokens, segments, types, positions, starts in zip(
        *(batch[name] for name in ("tokens", "segments", "token_types", "positions", "word_starts")), strict=True
    ):
        first, second = np.flatnonzero(tokens == SPECIALS.sep)
        assert tokens[0] == SPECIALS.cls
        assert np.array_equal(segments, np.arange(LENGTH) <= second)
        assert np.array_equal(types, (np.arange(LENGTH) > first) & (np.arange(LENGTH) <= second))
        assert np.array_equal(positions, np.arange(LENGTH))
        assert starts[[0, 1, first, first + 1, second]].all()
        yield tokens[1:first].tolist(), tokens[first + 1 : second].tolist()


def document_of(token):
    return np.searchsorted(np.cumsum([sum(d) for d in CORPUS]), token - FIRST, side="right")


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return store(tmp_path_factory.mktemp("text"), CORPUS, documents_per_shard=17).split("train")


@pytest.mark.parametrize("name", ["segment_pair", "sentence_pair"])
class TestLabels:
    def examples(self, split, name, label, seed=0):
        rows = use(name, label=label)
        return pipeline.PackedText([split], rows, LENGTH, SPECIALS, seed=seed, annotations=("word_starts",))

    def test_order(self, split, name):
        stream = self.examples(split, name, "sop")
        batch = stream.batch(0, 4 * stream.rows)
        assert batch["pair_label"].dtype == np.int32
        assert batch["pair_label"].mean() == pytest.approx(0.5, abs=0.1)
        for (a, b), label in zip(parts(batch), batch["pair_label"], strict=True):
            before, after = (b, a) if label else (a, b)
            assert [*before, *after] == list(range(before[0], before[0] + len(a) + len(b)))

    def test_next(self, split, name):
        stream = self.examples(split, name, "nsp")
        batch = stream.batch(0, 4 * stream.rows)
        assert batch["pair_label"].mean() == pytest.approx(0.5, abs=0.1)
        drawn = set()
        for (a, b), label in zip(parts(batch), batch["pair_label"], strict=True):
            assert b == list(range(b[0], b[0] + len(b)))
            if label:
                assert document_of(a[0]) != document_of(b[0])
                drawn.add(int(document_of(b[0])))
            else:
                assert b[0] == a[-1] + 1
        assert len(drawn) > 0.8 * sum(len(d) > 1 for d in CORPUS)

    def test_distance(self, split, name):
        stream = self.examples(split, name, "distance")
        batch = stream.batch(0, 6 * stream.rows)
        labels = batch["distance_label"]
        assert "pair_label" not in batch
        assert set(labels) == {0, 1, 2}
        for (a, b), label in zip(parts(batch), labels, strict=True):
            assert b == list(range(b[0], b[0] + len(b)))
            assert (document_of(a[0]) == document_of(b[0])) == (label < 2)
            assert (b[0] == a[-1] + 1) == (label == 0)
            if label == 1:
                assert b[-1] + 1 != a[0]
                assert not set(a) & set(b)

    @pytest.mark.parametrize("label", ["nsp", "sop", "distance"])
    def test_are_drawn_anew_each_epoch_and_belong_to_the_example(self, split, name, label):
        stream = self.examples(split, name, label)
        first, second = (stream.batch(epoch * stream.rows, stream.rows) for epoch in range(2))
        assert not np.array_equal(np.sort(first["tokens"], 0), np.sort(second["tokens"], 0))
        again = self.examples(split, name, label).batch(stream.rows + 5, 9)
        for key in again:
            assert np.array_equal(again[key], second[key][5:14])

    def test_evaluation_rows_of_padding_have_label_zero(self, split, name):
        rows = use(name, label="sop")
        *_, last = pipeline.evaluation_batches(split, rows, LENGTH, 64, SPECIALS, max_rows=67)
        assert last["pair_label"].shape == (64,)
        assert not last["pair_label"][3:].any()
        assert not last["tokens"][3:].any()
        assert last["tokens"][:3, 0].all()


def test_distances_are_thirds_where_documents_are_long(tmp_path):
    long = store(tmp_path, [[5 + (s * 7 + d) % 11 for s in range(60)] for d in range(12)], documents_per_shard=5)
    for name in ("segment_pair", "sentence_pair"):
        rows = use(name, label="distance")
        stream = pipeline.PackedText([long.split("train")], rows, LENGTH, SPECIALS)
        batch = stream.batch(0, 9000)
        np.testing.assert_allclose(np.bincount(batch["distance_label"]) / 9000, 1 / 3, atol=0.02)
        lengths = batch["token_types"].sum(1)
        means = [lengths[batch["distance_label"] == label].mean() for label in range(3)]
        np.testing.assert_allclose(means, means[0], rtol=0.05)


def test_next_sentences_of_one_document_alone(tmp_path):
    split = store(tmp_path, [[5] * 40]).split("train")
    with pytest.raises(DataError, match="rows of two documents at least; give more text or label"):
        pipeline.PackedText([split], use("segment_pair"), LENGTH, SPECIALS)


def test_an_unknown_label(split):
    with pytest.raises(ConfigError, match=r"segment_pair\.label='nps'"):
        pipeline.PackedText([split], use("segment_pair", label="nps"), LENGTH, SPECIALS)


def corpus_of(rng, documents, sentences, mean):
    """Documents of 1 to `sentences` sentences, whose lengths are spread as those of text are."""
    return [
        np.maximum(1, rng.gamma(2.0, mean / 2, rng.integers(1, sentences + 1))).astype(int).tolist()
        for _ in range(documents)
    ]


@pytest.mark.parametrize("length", [128, 511])
@pytest.mark.parametrize(("documents", "sentences", "mean"), [(8000, 4, 20), (150, 2000, 25), (1000, 120, 40)])
def test_next_sentence_labels_cannot_be_told_from_lengths(tmp_path, documents, sentences, mean, length):
    """Tables of all lengths, learned on one half of the rows, guess the other's labels no better than the majority."""
    text = corpus_of(np.random.default_rng(0), documents, sentences, mean)
    stream = pipeline.PackedText([store(tmp_path, text).split("train")], use("segment_pair"), length, SPECIALS)
    batch = stream.batch(0, stream.rows)  # one epoch: no row stands in both halves
    labels, b = batch["pair_label"], batch["token_types"].sum(1) - 1
    a = (batch["segments"] > 0).sum(1) - 3 - b
    left = length - 3 - a - b
    majority = max(labels.mean(), 1 - labels.mean())
    half = np.arange(len(labels)) < len(labels) // 2
    for table in (left, np.minimum(left, 40) * 1000 + b // 32, b, (a // 16) * 1000 + b // 16, left == 0):
        _, cell = np.unique(table, return_inverse=True)
        right = 0
        for learn in (half, ~half):
            ones = np.bincount(cell[learn], labels[learn], cell.max() + 1)
            guess = ones * 2 > np.bincount(cell[learn], minlength=cell.max() + 1)
            right += (guess[cell[~learn]] == labels[~learn]).sum()
        assert right / len(labels) <= majority + 0.02

"""Words replaced by similar ones: from the store to the table to the tokens that are shown."""

import itertools

import numpy as np
import pytest
from test_masking_statistics import assert_fits, corrupted
from test_mlm import VOCABULARY

from bert_jax.objectives import replacement
from configuration.variants import ConfigError, load, use
from data_pipeline import similar_words
from data_pipeline.store.writer import write_store

# Words of one and of two pieces (the second from 50 on); of each, which others stand for it, in tests of replacement.
WORDS = {
    (5,): [(6,), (7,)],
    (6,): [(5,)],
    (7,): [],
    (8, 50): [(9, 51)],
    (9, 51): [(8, 50)],
    (8, 51): [(9, 51), (8, 50)],
}


@pytest.fixture
def table(tmp_path):
    words = list(WORDS)
    arrays = {
        "words": np.array([[*word, 0][:2] for word in words], np.int32),
        "sizes": np.array([len(word) for word in words], np.int32),
        "neighbours": np.array([[*(words.index(n) for n in near), -1, -1][:2] for near in WORDS.values()], np.int32),
        "plain": np.ones(101, bool),
    }
    np.savez(tmp_path / "similar.npz", **arrays)
    return str(tmp_path / "similar.npz")


def batch_of(words: list[tuple[int, ...]], rows: int) -> dict[str, np.ndarray]:
    """Rows of [CLS], the words in random order, [SEP]."""
    rng, tokens, starts = np.random.default_rng(0), [], []
    for _ in range(rows):
        order = [words[i] for i in rng.permutation(len(words))]
        tokens.append([2, *(token for word in order for token in word), 3, 0])
        starts.append([True, *(i == 0 for word in order for i in range(len(word))), True, False])
    tokens = np.array(tokens, np.int32)
    place = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape).astype(np.int32)
    fixed = {"segments": (tokens > 0).astype(np.int32), "positions": place, "token_types": np.zeros_like(tokens)}
    return {"tokens": tokens, "word_starts": np.array(starts), **fixed}


def test_each_word_becomes_a_similar_one_of_as_many_pieces(table):
    words = [*WORDS, (10,), (10, 52), (8, 50, 53)]  # the last three are not in the table
    batch = batch_of(words, 12_000)
    options = {"masking": use("ngrams"), "replacement": use("similar", file=table, similar=0.8, random=0.1)}
    out = corrupted(batch, 0.5, **options)
    masked = np.zeros(batch["tokens"].shape, bool)
    np.put_along_axis(masked, out["target_positions"], out["target_weights"] > 0, axis=1)
    shown: dict[tuple, list] = {word: [] for word in words}
    for row in range(len(masked)):
        begins = np.flatnonzero(batch["word_starts"][row])
        for first, last in itertools.pairwise(begins[1:]):
            if masked[row, first]:
                assert masked[row, first:last].all()
                shown[tuple(batch["tokens"][row, first:last])].append(tuple(out["tokens"][row, first:last]))
    for word, seen in shown.items():
        near = WORDS.get(word, [])
        counts = np.array([sum(each == other for each in seen) for other in near])
        kept = sum(each == word for each in seen) / len(seen)
        assert len(seen) > 4000
        assert kept == pytest.approx(0.1, abs=0.02)
        if near:
            assert counts.sum() / len(seen) == pytest.approx(0.8, abs=0.02)
            if len(near) > 1:
                assert_fits(counts, np.ones(len(near)))
        else:
            assert len(set(seen)) > 60  # random tokens


def test_a_table_that_cannot_be_used(table, tmp_path):
    build = lambda file, size=101: load("bert_jax.objectives.replacement", use("similar", file=file))(
        VOCABULARY._replace(size=size)
    )
    with pytest.raises(ConfigError, match=r"file is empty; python -m data_pipeline\.similar_words writes one"):
        build("")
    with pytest.raises(ConfigError, match="holds no table"):
        build(str(tmp_path / "none.npz"))
    (tmp_path / "text.npz").write_text("no table")
    with pytest.raises(ConfigError, match="holds no table"):
        build(str(tmp_path / "text.npz"))
    with pytest.raises(ConfigError, match="has 101 pieces where the vocabulary has 40"):
        build(table, 40)
    assert isinstance(build(table), replacement.Replacement)


def test_similar_words_stand_in_the_same_company(tmp_path):
    """Two classes of words, each with contexts of its own; every word once of one piece and once of two."""
    rng = np.random.default_rng(1)
    classes = {0: ([10, 11, 12, 13], [30, 31]), 1: ([20, 21, 22, 23], [40, 41])}
    sentences = []
    for _ in range(3000):
        words, contexts = classes[int(rng.integers(2))]
        sentence = []
        for _ in range(4):
            ending = [60] if rng.random() < 0.5 else []
            sentence += [int(rng.choice(contexts)), int(rng.choice(words)), *ending]
        sentences.append(sentence)
    store = write_store(tmp_path / "store", {"train": [sentences]}, vocab_size=64, word_starts=np.arange(64) != 60)
    options = {"most": 100, "least_count": 9, "contexts": 20, "window": 1, "width": 4, "neighbours": 3, "least": 0.3}
    table = similar_words.similar_words(store.split("train"), np.ones(64, bool), **options)
    words = [tuple(word[:size].tolist()) for word, size in zip(table["words"], table["sizes"], strict=True)]
    assert len(words) == 20
    for word, near in zip(words, table["neighbours"], strict=True):
        if 10 <= word[0] < 30:
            found = [words[i] for i in near]
            assert word not in found
            assert {len(other) for other in found} == {len(word)}
            assert {other[0] // 10 for other in found} == {word[0] // 10}
    again = similar_words.similar_words(store.split("train"), np.ones(64, bool), **options)
    assert all(np.array_equal(table[name], again[name]) for name in table)
    np.savez(tmp_path / "similar.npz", **table)
    build = load("bert_jax.objectives.replacement", use("similar", file=str(tmp_path / "similar.npz")))
    assert build(VOCABULARY).needs == ("word_starts",)

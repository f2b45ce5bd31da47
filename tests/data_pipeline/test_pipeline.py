"""Batches: layout, exactness, resumption, hosts, and the row index on disk."""

import itertools
import os
import shutil
import time

import numpy as np
import pytest
from texts import FIRST, SPECIALS, numbered, store

from configuration.variants import ConfigError, use
from data_pipeline.batches import assembly, pieces, pipeline, row_index
from data_pipeline.errors import DataError
from data_pipeline.store import Split, Store
from data_pipeline.store.writer import ShardWriter, _piece, write_manifest

FULL = use("full_sentences")
DOCUMENTS = [[(7 * d + 5 * s) % 23 + 1 for s in range(d % 6 + 1)] for d in range(60)]  # 60 documents, 2,505 tokens
LENGTH = 37


@pytest.fixture(scope="module")
def text_store(tmp_path_factory):
    return store(tmp_path_factory.mktemp("text"), DOCUMENTS, documents_per_shard=17, held_out=DOCUMENTS[:20])


@pytest.fixture(scope="module")
def train(text_store):
    return text_store.split("train")


def examples(split, rows=FULL, length=LENGTH, **options):
    return pipeline.PackedText([split], rows, length, SPECIALS, annotations=("word_starts",), **options)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert np.array_equal(a[name], b[name]), name


def text_of(batch):
    return np.sort(batch["tokens"][batch["tokens"] >= FIRST])


@pytest.mark.parametrize(
    ("isolate", "tokens", "segments", "positions", "word_starts"),
    [
        (
            True,
            [2, 5, 6, 7, 3, 2, 8, 9, 3, 0, 0, 0],
            [1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0],
            [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2],
            [1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 0],
        ),
        (
            False,
            [2, 5, 6, 7, 3, 8, 9, 3, 0, 0, 0, 0],
            [1, 1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0],
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
            [1, 1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0],
        ),
    ],
)
def test_layout_of_a_row(tmp_path, isolate, tokens, segments, positions, word_starts):
    split = store(tmp_path, [[1, 2], [2]]).split("train")  # ids 5 6 7 | 8 9; 6 and 9 do not start a word
    batch = examples(split, length=12, isolate=isolate).batch(0, 1)
    assert {name: array.dtype for name, array in batch.items()} == {
        "tokens": np.int32,
        "segments": np.int32,
        "positions": np.int32,
        "token_types": np.int32,
        "word_starts": np.bool_,
    }
    assert batch["tokens"].tolist() == [tokens]
    assert batch["segments"].tolist() == [segments]
    assert batch["positions"].tolist() == [positions]
    assert batch["word_starts"].astype(int).tolist() == [word_starts]
    assert not batch["token_types"].any()


def test_the_rest_of_a_cut_word_counts_as_a_word_of_its_own(tmp_path):
    split = store(tmp_path, [[9]]).split("train")  # rows of 6 and 3 tokens; ids 6, 9 and 12 do not start a word
    batch = examples(split, length=8).batch(0, 2)
    rows = zip(batch["tokens"], batch["word_starts"], batch["tokens"] >= FIRST, strict=True)
    assert {tuple(tokens[text]): list(starts[text]) for tokens, starts, text in rows} == {
        (5, 6, 7, 8, 9, 10): [1, 0, 1, 1, 0, 1],
        (11, 12, 13): [1, 0, 1],
    }


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("rows", ["full_sentences", "doc_sentences"])
def test_every_token_exactly_once_in_each_epoch(train, rows, isolate):
    stream = examples(train, use(rows), isolate=isolate, seed=5)
    everything = np.arange(FIRST, FIRST + train.tokens)
    epochs = [stream.batch(epoch * stream.rows, stream.rows) for epoch in range(3)]
    for epoch in epochs:
        assert np.array_equal(text_of(epoch), everything)
    assert not np.array_equal(epochs[0]["tokens"], epochs[1]["tokens"])


def test_word_starts_are_those_of_the_store(train):
    stream = examples(train, use("doc_sentences"), length=200)  # no document is cut
    batch = stream.batch(0, stream.rows)
    inner = (batch["tokens"] >= FIRST) & (batch["positions"] > 1)
    assert np.array_equal(batch["word_starts"][inner], batch["tokens"][inner] % 3 > 0)


def test_a_batch_is_a_function_of_the_seed_and_the_step(train):
    batch = examples(train, seed=1).batch(80, 8)
    assert_same(batch, examples(train, seed=1).batch(80, 8))
    assert not np.array_equal(batch["tokens"], examples(train, seed=2).batch(80, 8)["tokens"])


@pytest.mark.parametrize(
    "through", [pipeline._through_tf_data_soon, pipeline._through_tf_data, pipeline._through_threads]
)
def test_reading_ahead_gives_the_same_bytes(train, monkeypatch, through):
    monkeypatch.setattr(pipeline, "_through_tf_data_soon", through)
    stream = examples(train)
    read = itertools.islice(pipeline.batches(stream, 8, 3), 12)
    for step, batch in enumerate(read, start=3):
        assert_same(batch, stream.batch(8 * step, 8))


def test_python_threads_read_ahead_without_tensorflow(train, monkeypatch):
    monkeypatch.setattr(pipeline.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(pipeline, "_through_tf_data_soon", None)
    stream = examples(train)
    assert_same(next(pipeline.batches(stream, 8, 2)), stream.batch(16, 8))


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_the_global_batch_is_the_same_on_any_number_of_hosts(train, hosts):
    stream = examples(train)
    parts = [next(pipeline.batches(stream, 16, 5, process_index=h, process_count=hosts)) for h in range(hosts)]
    together = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert_same(together, stream.batch(5 * 16, 16))


def test_a_change_of_batch_size_leaves_no_gap_in_the_stream(train):
    stream = examples(train)
    small = list(itertools.islice(pipeline.batches(stream, 4, 0), 6))
    large = next(pipeline.batches(stream, 12, 0, first_example=24))
    tokens = np.concatenate([batch["tokens"] for batch in [*small, large]])
    assert np.array_equal(tokens, stream.batch(0, 36)["tokens"])


@pytest.mark.parametrize("rows", [FULL, use("segment_pair")])
def test_giving_memory_back_while_reading_changes_nothing(train, monkeypatch, rows):
    whole = examples(train, rows).batch(0, 64)
    monkeypatch.setattr(assembly, "_KEPT", 1)
    for module in (assembly, pieces):
        monkeypatch.setattr(module, "TOUCHES", 9)
    assert_same(whole, examples(train, rows).batch(0, 64))


def test_resuming_far_on_is_quick(train):
    stream = examples(train)
    list(itertools.islice(pipeline.batches(stream, 8, 0), 3))  # TensorFlow is imported once
    start = time.perf_counter()
    batch = next(pipeline.batches(stream, 8, 10_000_000))
    assert time.perf_counter() - start < 0.9
    assert_same(batch, stream.batch(80_000_000, 8))


@pytest.mark.parametrize(("max_rows", "batch_size"), [(5, 2), (1000, 7), (6, 3)])
def test_evaluation_reads_evenly_spread_rows_in_order(text_store, max_rows, batch_size):
    split = text_store.split("held_out")
    batches = list(pipeline.evaluation_batches(split, FULL, LENGTH, batch_size, SPECIALS, max_rows=max_rows))
    rows = pipeline.row_facts(split, FULL, LENGTH).rows
    used = min(rows, max_rows)
    assert len(batches) == -(-used // batch_size)
    tokens, segments = (np.concatenate([b[name] for b in batches]) for name in ("tokens", "segments"))
    assert tokens.shape == (len(batches) * batch_size, LENGTH)
    assert np.all(segments[:used, 0] == 1)
    assert not segments[used:].any()
    assert not tokens[used:].any()
    first = tokens[:used, 1].astype(int)  # tokens are numbered, so what is between two rows shows in the difference
    assert np.all(np.diff(first) > 0)
    if used < rows:
        assert np.diff(first).max() < 2 * split.tokens / used
    else:
        everything = FIRST + text_store.split("train").tokens + np.arange(split.tokens)
        assert np.array_equal(text_of({"tokens": tokens}), everything)


def test_facts_of_the_rows(train):
    for rows, isolate in itertools.product(["full_sentences", "doc_sentences"], [True, False]):
        facts = pipeline.row_facts(train, use(rows), LENGTH, isolate=isolate)
        batch = examples(train, use(rows), isolate=isolate).batch(0, facts.rows)
        filled = (batch["segments"] > 0).sum(1)
        assert facts.tokens == train.tokens
        assert facts.used == 1
        assert np.array_equal(facts.row_lengths, np.bincount(filled, minlength=LENGTH + 1))
        assert facts.padding == pytest.approx(1 - filled.sum() / (facts.rows * LENGTH))
        document = np.repeat(np.arange(len(DOCUMENTS)), [sum(d) for d in DOCUMENTS])
        pieces = [
            {document[t - FIRST] for t in tokens[(segments == s) & (tokens >= FIRST)]}
            for tokens, segments in zip(batch["tokens"], batch["segments"], strict=True)
            for s in range(1, segments.max() + 1)
        ]
        assert all(len(piece) == 1 for piece in pieces)
        times = np.bincount([piece.pop() for piece in pieces], minlength=len(DOCUMENTS))
        assert facts.pieces == times.sum()
        assert facts.cut_documents == pytest.approx((times > 1).mean())


class TestMixture:
    @pytest.fixture
    def stream(self, text_store):
        splits = [text_store.split("train"), text_store.split("held_out")]
        return pipeline.PackedText(splits, FULL, LENGTH, SPECIALS, weights=[3, 1])

    def test_has_the_weights_over_any_stretch(self, stream, train):
        from_second = stream.batch(0, 400)["tokens"][:, 1] >= FIRST + train.tokens
        assert np.cumsum(from_second) == pytest.approx(np.arange(1, 401) / 4, abs=1.5)

    def test_passes_each_split_in_whole_epochs(self, stream, text_store, train):
        tokens = stream.batch(0, 4000)["tokens"]
        second = tokens[tokens[:, 1] >= FIRST + train.tokens]
        rows = pipeline.row_facts(text_store.split("held_out"), FULL, LENGTH).rows
        for epoch in range(3):
            assert len({tuple(row) for row in second[epoch * rows : (epoch + 1) * rows]}) == rows

    def test_is_the_same_however_it_is_cut_into_batches(self, stream):
        whole = stream.batch(65_500, 72)
        parts = [stream.batch(65_500 + 9 * i, 9) for i in range(8)]
        assert_same(whole, {name: np.concatenate([part[name] for part in parts]) for name in whole})

    def test_of_the_sources_of_a_store(self, tmp_path):
        """Shares as asked in every stretch, the same on any number of hosts and after a resume."""
        weights = (1.0, 5.0, 2.0)
        sources = [[[7, 5]] * 40, [[9]] * 90, [[4, 4, 4]] * 20]
        vocab_size = FIRST + sum(sum(map(sum, documents)) for documents in sources)
        token, shards = itertools.count(FIRST), []
        for number, documents in enumerate(sources):
            for part in range(2):  # two shards of each source
                half = numbered(documents[part::2], token)
                name = 2 * number + part
                with ShardWriter(tmp_path, "train", name, source=number, vocab_size=vocab_size) as writer:
                    writer.append(_piece(half, {"word_starts": np.ones(vocab_size, bool)}))
                shards.append(writer.facts)
        write_manifest(tmp_path, vocab_size=vocab_size, shards=shards, tokenizer="", made={})
        split = Store.open(tmp_path).split("train")
        stream = pipeline.PackedText(pipeline.mixed(split, weights), FULL, LENGTH, SPECIALS, weights=weights)
        ends = FIRST + np.cumsum([sum(map(sum, documents)) for documents in sources])
        chosen = np.searchsorted(ends, stream.batch(0, 3000)["tokens"][:, 1], side="right")
        for source, weight in enumerate(weights):
            counts = np.cumsum(np.append(0, chosen == source))
            for stretch in (7, 64, 500):
                assert counts[stretch:] - counts[:-stretch] == pytest.approx(stretch * weight / 8, abs=2)
        for hosts in (2, 4):
            parts = [next(pipeline.batches(stream, 16, 3, process_index=h, process_count=hosts)) for h in range(hosts)]
            assert_same({name: np.concatenate([p[name] for p in parts]) for name in parts[0]}, stream.batch(48, 16))
        again = pipeline.PackedText(pipeline.mixed(split, weights), FULL, LENGTH, SPECIALS, weights=weights)
        assert_same(next(pipeline.batches(again, 16, 9)), stream.batch(16 * 9, 16))

        assert pipeline.mixed(split, ()) == [split]
        for wrong, reason in {(1.0, 2.0): "has 3 sources", (1.0,) * 4: "has no text of source 3"}.items():
            with pytest.raises(DataError, match=rf"config\.data\.weights is .* {reason} to train on"):
                pipeline.mixed(split, wrong)

    @pytest.mark.parametrize(("weights", "message"), [([1, 0], "above 0"), ([1, 1e-30], "too small beside them")])
    def test_weights_that_make_no_mixture(self, train, weights, message):
        with pytest.raises(DataError, match=message):
            pipeline.PackedText([train, train], FULL, LENGTH, SPECIALS, weights=weights)


class TestIndex:
    @pytest.fixture
    def small(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return store(tmp_path, DOCUMENTS[:12])

    def test_is_made_once_and_for_every_choice_of_rows(self, small, monkeypatch):
        split = small.split("train")
        choices = [(FULL, 16, True), (FULL, 16, False), (FULL, 17, True), (use("doc_sentences"), 16, True)]
        made = [pipeline.row_facts(split, rows, length, isolate=isolate) for rows, length, isolate in choices]
        assert len(list((small.path / "rows").iterdir())) == len(choices)
        monkeypatch.setattr(row_index, "_make", None)
        assert made == [pipeline.row_facts(split, rows, length, isolate=isolate) for rows, length, isolate in choices]

    def test_goes_to_the_cache_where_the_store_cannot_be_written(self, small, tmp_path):
        (small.path / "rows").write_text("a file where the folder would be")
        facts = pipeline.row_facts(small.split("train"), FULL, 16)
        assert len(list((tmp_path / "cache" / "bert_jax" / "rows").iterdir())) == 1
        assert pipeline.row_facts(small.split("train"), FULL, 16) == facts

    def test_is_made_again_when_a_file_is_cut(self, small):
        stream = examples(small.split("train"), length=16)
        batch = stream.batch(0, stream.rows)
        (folder,) = (small.path / "rows").iterdir()
        os.truncate(folder / "starts.bin", 8)
        assert_same(examples(small.split("train"), length=16).batch(0, stream.rows), batch)

    def test_nothing_is_left_when_making_it_fails(self, small, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(row_index, "_write", full)
        with pytest.raises(DataError, match=r"cannot write the row index .*: No space left on device; free some space"):
            examples(small.split("train"))
        assert list((small.path / "rows").iterdir()) == []

    def test_a_store_may_move(self, small, tmp_path, monkeypatch):
        facts = pipeline.row_facts(small.split("train"), FULL, 16)
        shutil.move(small.path, tmp_path / "moved")
        monkeypatch.setattr(row_index, "_make", None)
        assert pipeline.row_facts(type(small).open(tmp_path / "moved").split("train"), FULL, 16) == facts


class TestErrors:
    def test_rows_below_eight_tokens(self, train):
        with pytest.raises(DataError, match="row length is 7 tokens; rows need at least 8"):
            examples(train, length=7)

    def test_fewer_rows_than_a_batch(self, train):
        stream = examples(train)
        message = f"the split has {stream.rows} rows of 37 tokens, fewer than a batch of 1024: give a smaller"
        with pytest.raises(DataError, match=message):
            pipeline.batches(stream, 1024, 0)

    def test_hosts_that_cannot_share_a_batch(self, train):
        with pytest.raises(DataError, match="a batch of 9 rows cannot be shared out to 2 hosts"):
            pipeline.batches(examples(train), 9, 0, process_count=2)

    def test_a_split_without_documents(self):
        with pytest.raises(DataError, match="the split has no documents"):
            examples(Split(()))

    def test_documents_without_tokens(self, tmp_path):
        with pytest.raises(DataError, match="makes no row of 37 tokens"):
            examples(store(tmp_path, [[0], [0]]).split("train"))

    def test_a_format_that_does_not_exist(self, train):
        with pytest.raises(ConfigError, match="no variant 'ful_sentences'; did you mean 'full_sentences'"):
            examples(train, use("ful_sentences"))

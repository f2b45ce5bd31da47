"""The store: what is written is read back, and every kind of damage is found and named."""

import itertools
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.store import Shard, Store, _contents_hash, writer
from data_pipeline.store.writer import Piece, ShardWriter, write_store

VOCABULARY = 101
SENTENCES = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=21)
DOCUMENTS = st.lists(st.lists(SENTENCES, min_size=1, max_size=5), min_size=1, max_size=13)


def read_back(shard: Shard) -> list[list[list[int]]]:
    sentences = [
        shard.tokens[start:stop].tolist()
        for start, stop in zip(shard.sentence_offsets[:-1], shard.sentence_offsets[1:], strict=True)
    ]
    offsets = shard.document_offsets
    return [sentences[start:stop] for start, stop in itertools.pairwise(offsets)]


@pytest.fixture
def small(tmp_path: Path) -> Store:
    documents = [[[5, 6, 7], [8]], [[9, 10]], [[100] * 37]]
    return write_store(tmp_path / "small", {"train": documents, "held_out": documents[:1]}, vocab_size=VOCABULARY)


@settings(max_examples=30, deadline=None)
@given(documents=DOCUMENTS, held_out=DOCUMENTS, documents_per_shard=st.integers(1, 7))
def test_reads_back_what_was_written(tmp_path_factory, documents, held_out, documents_per_shard):
    path = tmp_path_factory.mktemp("stores") / "store"
    table = np.arange(VOCABULARY) % 3 == 0
    splits = {"train": documents, "held_out": held_out}
    write_store(path, splits, vocab_size=VOCABULARY, word_starts=table, documents_per_shard=documents_per_shard)
    store = Store.open(path, verify="checksums")
    for name, expected in splits.items():
        split = store.split(name)
        assert [document for shard in split.shards for document in read_back(shard)] == expected
        assert split.documents == len(expected)
        assert split.tokens == sum(len(sentence) for document in expected for sentence in document)
        assert [shard.first_document for shard in split.shards] == list(range(0, len(expected), documents_per_shard))
        for shard in split.shards:
            middle = shard.tokens.size // 3
            starts = shard.annotation("word_starts", middle, shard.tokens.size)
            np.testing.assert_array_equal(starts, table[shard.tokens[middle:]])
    flat = [token for document in documents for sentence in document for token in sentence]
    np.testing.assert_array_equal(store.token_counts, np.bincount(flat, minlength=VOCABULARY))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 21), min_size=1, max_size=9))
def test_a_shard_does_not_depend_on_its_pieces(tmp_path_factory, sizes):
    """Bits of pieces that end within a byte are packed as those of one piece."""
    random = np.random.default_rng(sum(sizes))
    tokens, bits = random.integers(0, VOCABULARY, sum(sizes)), random.integers(0, 2, sum(sizes)).astype(bool)
    kinds, contents = random.integers(0, 256, sum(sizes)).astype(np.uint8), []
    for cuts in ([0, *np.cumsum(sizes)], [0, sum(sizes)]):
        folder = tmp_path_factory.mktemp("pieces")
        with ShardWriter(folder, "train", 0, source=0, vocab_size=VOCABULARY) as writer:
            document = 0
            for start, stop in itertools.pairwise(cuts):
                inside = [size for size, end in zip(sizes, np.cumsum(sizes), strict=True) if start < end <= stop]
                names = [f"document {document + i}" for i in range(len(inside))]
                document += len(inside)
                ones = np.ones(len(inside), int)
                annotations = {"word_starts": bits[start:stop], "kinds": kinds[start:stop]}
                writer.append(Piece(tokens[start:stop], annotations, np.array(inside), ones, names))
        contents.append((folder / "train-00000.shard").read_bytes())
        shard = Shard(folder / "train-00000.shard", writer.facts, VOCABULARY, 0)
        np.testing.assert_array_equal(shard.annotation("word_starts", 0, tokens.size), bits)
        np.testing.assert_array_equal(shard.annotation("kinds", 1, tokens.size), kinds[1:])
        assert shard.document_ids() == [f"document {i}" for i in range(len(sizes))]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65536, np.uint16), (65537, np.uint32)])
def test_ids_are_as_wide_as_the_vocabulary_needs(tmp_path, vocab_size, dtype):
    store = write_store(tmp_path / "store", {"train": [[[0, vocab_size - 1]]]}, vocab_size=vocab_size)
    (shard,) = store.split("train").shards
    assert shard.tokens.dtype == dtype
    assert shard.tokens.tolist() == [0, vocab_size - 1]


def test_a_split_without_documents_has_no_shards(tmp_path):
    store = write_store(tmp_path / "store", {"train": [[[1]]]}, vocab_size=VOCABULARY)
    assert store.split("held_out").shards == ()
    with pytest.raises(ValueError, match="no split 'test'; there are train, held_out"):
        store.split("test")


def test_the_fingerprint_is_that_of_the_contents(tmp_path):
    first, same = (write_store(tmp_path / n, {"train": [[[1, 2]]]}, vocab_size=VOCABULARY) for n in ("a", "b"))
    other = write_store(tmp_path / "c", {"train": [[[1, 3]]]}, vocab_size=VOCABULARY)
    assert first.fingerprint == same.fingerprint == Store.open(tmp_path / "a").fingerprint
    assert other.fingerprint != first.fingerprint


def test_any_flipped_bit_is_found(small):
    for name in small.manifest.files:
        path = small.path / name
        whole = path.read_bytes()
        for position in range(0, len(whole), 7):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << position % 8
            path.write_bytes(damaged)
            with pytest.raises(DataError, match=rf"{re.escape(str(path))} is damaged: its checksum differs"):
                Store.open(small.path, verify="checksums")
        path.write_bytes(whole)
    assert Store.open(small.path, verify="checksums").fingerprint == small.fingerprint


def test_any_flipped_bit_of_the_manifest_is_found(small):
    path = small.path / "manifest.json"
    whole = path.read_bytes()
    for position in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        if damaged.split() == whole.split():
            continue  # whitespace between two words of JSON says nothing
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"manifest\.json") as caught:
            Store.open(small.path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train-00000.shard", "held_out-00000.shard", "token_counts"])
def test_missing_and_cut_files_are_found_by_their_size(small, name):
    path = small.path / name
    size = path.stat().st_size
    os.truncate(path, size - 1)
    message = rf"{re.escape(str(path))} has {size - 1} bytes where the manifest says {size}"
    with pytest.raises(DataError, match=message):
        Store.open(small.path)
    path.unlink()
    with pytest.raises(DataError, match=rf"{re.escape(str(path))} is missing"):
        Store.open(small.path)


def test_another_version_is_named(small):
    path = small.path / "manifest.json"
    contents = json.loads(path.read_text())
    path.write_text(json.dumps(contents | {"version": 7}))
    with pytest.raises(DataError, match="is of format version 7 and this code reads 2; prepare it again"):
        Store.open(small.path)


@pytest.mark.parametrize("contents", [None, "{}", "[]"])
def test_a_folder_that_is_no_store(tmp_path, contents):
    if contents is not None:
        (tmp_path / "manifest.json").write_text(contents)
    with pytest.raises(DataError, match=r"is not a store|is not the manifest of a store"):
        Store.open(tmp_path)


def test_nothing_is_left_of_a_store_that_fails(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_manifest", full)
    with pytest.raises(OSError, match="No space left"):
        write_store(tmp_path / "store", {"train": [[[1]]]}, vocab_size=VOCABULARY)
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_never_overwritten(small):
    with pytest.raises(DataError, match="exists already"):
        write_store(small.path, {"train": [[[1]]]}, vocab_size=VOCABULARY)


def resigned(folder: Path, change) -> None:
    """Changes the manifest and signs it anew, as whoever makes a store can."""
    contents = json.loads((folder / "manifest.json").read_text())
    contents.pop("sha256")
    change(contents)
    (folder / "manifest.json").write_text(json.dumps(contents | {"sha256": _contents_hash(contents)}))


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside", "a/../../outside", "a\\..\\outside", "C:outside", "a//b", ""]
)
def test_a_strangers_manifest_names_no_file_outside_its_folder(small, name):
    facts = {"bytes": 3, "sha256": "0" * 64}
    resigned(small.path, lambda contents: contents["files"].update({name: facts}))
    with pytest.raises(DataError, match="leaves the store's folder"):
        Store.open(small.path)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(shards=None),
        lambda m: m.update(files=[]),
        lambda m: m.update(vocab_size="many"),
        lambda m: m["shards"][0].pop("tokens"),
        lambda m: m["shards"][0].update(name=3.5),
        lambda m: m["shards"][0].update(name="../../etc/passwd"),
        lambda m: m.pop("made"),
    ],
)
def test_a_manifest_of_wrong_types_is_one_line(small, change):
    resigned(small.path, change)
    with pytest.raises(DataError, match=r"manifest.json"):
        Store.open(small.path)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "\xff"])
def test_what_is_no_json_is_one_line(small, text):
    (small.path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="it is not JSON"):
        Store.open(small.path)


def test_a_pipe_in_place_of_the_manifest_does_not_hang(small):
    (small.path / "manifest.json").unlink()
    os.mkfifo(small.path / "manifest.json")
    with pytest.raises(DataError, match="no regular file"):
        Store.open(small.path)

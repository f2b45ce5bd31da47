"""Preparation: the same store whatever the workers and interruptions, and nothing half-written."""

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bert_jax.config import Data
from configuration.variants import ConfigError, use
from data_pipeline import prepare
from data_pipeline.errors import DataError
from data_pipeline.preparing import encoding, held_out
from data_pipeline.preparing.encoding import split_of
from data_pipeline.preparing.workers import Workers
from data_pipeline.sources import Document, _files
from data_pipeline.store import Store, shards

WORDS = "river mill school winter water teacher bridge door child morning stone field".split()  # noqa: SIM905


def corpus(folder: Path, documents: int = 300, seed: int = 0) -> Path:
    """A text file of made-up documents of one to four sentences."""
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(documents):
        lengths = random.integers(3, 12, random.integers(1, 5))
        texts.append(" ".join(" ".join(random.choice(WORDS, n)).capitalize() + "." for n in lengths))
    file = folder / f"text{seed}.txt"
    file.write_text("\n\n".join(texts))
    return file


def data(*files: Path, workers: int = 1, held_out: float = 0.1, vocab_size: int = 60) -> Data:
    return Data(
        sources=tuple(use("text_files", paths=str(file)) for file in files),
        tokenizer=use("sentencepiece", vocab_size=vocab_size),
        held_out=held_out,
        workers=workers,
    )


def run(configuration: Data, output: Path) -> Store:
    return prepare.prepare(configuration, output, progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(_files, "PART_BYTES", 2000)
    monkeypatch.setattr(shards, "SHARD_BYTES", 9000)


def documents_of(store: Store, split: str) -> dict[str, str]:
    texts = {}
    for shard in store.split(split).shards:
        sentences = shard.document_offsets
        for i, name in enumerate(shard.document_ids()):
            start, stop = shard.sentence_offsets[sentences[i]], shard.sentence_offsets[sentences[i + 1]]
            texts[name] = store.tokenizer.decode(shard.tokens[start:stop])
    return texts


def test_every_document_is_in_the_store_once(tmp_path, small_parts):
    file = corpus(tmp_path)
    store = run(data(file), tmp_path / "store")
    assert len(store.split("train").shards) > 3
    expected: dict[str, dict[str, str]] = {"train": {}, "held_out": {}}
    whole = file.read_text()
    for text in whole.split("\n\n"):
        name = f"{file}@{whole.index(text)}"
        expected[split_of(Document(name, text), 0.1)][name] = text
    for split, texts in expected.items():
        assert list(documents_of(store, split).values()) == list(texts.values())
    assert 10 < store.split("held_out").documents < 60
    held_out = store.split("held_out")
    assert held_out.sentences == sum(text.count(".") for text in expected["held_out"].values())
    for shard in held_out.shards:
        starts = store.tokenizer.word_start[shard.tokens]
        np.testing.assert_array_equal(shard.annotation("word_starts", 0, shard.tokens.size), starts)
    assert Store.open(store.path, verify="checksums").manifest.made["data"] == prepare.description(data(file))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["store"]


def test_the_number_of_workers_changes_no_byte(tmp_path, small_parts):
    files = corpus(tmp_path), corpus(tmp_path, documents=40, seed=1)
    stores = [run(data(*files, workers=workers), tmp_path / str(workers)).path for workers in (1, 3)]
    assert contents(stores[0]) == contents(stores[1])
    assert {shard.source for shard in Store.open(stores[0]).manifest.shards} == {0, 1}


def test_more_text_moves_no_document_across(tmp_path):
    first = corpus(tmp_path)
    small = run(data(first), tmp_path / "small")
    large = run(data(corpus(tmp_path, seed=2), first), tmp_path / "large")
    for split in ("train", "held_out"):
        assert set(documents_of(small, split)) <= set(documents_of(large, split))


class Killed(Exception):
    pass


def dies_at_once(*args, **kwargs):
    raise Killed


@pytest.mark.parametrize("saved", [1, 7, 12])
def test_an_interrupted_run_goes_on_after_its_last_part(tmp_path, small_parts, monkeypatch, saved):
    file = corpus(tmp_path)
    whole = contents(run(data(file), tmp_path / "whole").path)
    save, calls = encoding.save_pieces, []

    def dies(path, pieces):
        if len(calls) == saved:
            raise Killed
        calls.append(path.name)
        save(path, pieces)

    monkeypatch.setattr(encoding, "save_pieces", dies)
    with pytest.raises(Killed):
        run(data(file), tmp_path / "store")
    assert not (tmp_path / "store").exists()
    first = list(calls)
    monkeypatch.setattr(encoding, "save_pieces", lambda path, pieces: (calls.append(path.name), save(path, pieces)))
    monkeypatch.setattr(prepare, "_word_counts", None)  # the tokenizer is not trained again
    run(data(file), tmp_path / "store")
    assert len(set(calls)) == len(calls) > len(first)
    assert contents(tmp_path / "store") == whole
    assert not (tmp_path / "store.preparing").exists()


def test_changed_text_starts_again(tmp_path, small_parts, monkeypatch):
    file = corpus(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_manifest", dies_at_once)
        with pytest.raises(Killed):
            run(data(file), tmp_path / "store")
    shutil.copy(corpus(tmp_path, seed=4), file)
    store = run(data(file), tmp_path / "store")
    again = run(data(file), tmp_path / "again")
    assert contents(store.path) == contents(again.path)


def test_kill_9_and_again(tmp_path, monkeypatch):
    """A real process, killed while it works; its workers end with it and its lock is free."""
    file = corpus(tmp_path, documents=5_000)
    output = tmp_path / "store"
    script = (
        "import sys; from pathlib import Path; from tests.data_pipeline import test_prepare as t\n"
        "t._files.PART_BYTES = 5_000\n"
        "if __name__ == '__main__': t.run(t.data(Path(sys.argv[1]), workers=2), Path(sys.argv[2]))\n"
    )
    program = tmp_path / "program.py"
    program.write_text(script)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    process = subprocess.Popen([sys.executable, str(program), str(file), str(output)], env=environment)
    parts = tmp_path / "store.preparing" / "parts"
    while process.poll() is None and not (parts.exists() and len(list(parts.glob("*.npz"))) > 4):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert parts.exists()
    assert not output.exists()
    monkeypatch.setattr(_files, "PART_BYTES", 5_000)
    assert contents(run(data(file), output).path) == contents(run(data(file), tmp_path / "whole").path)


def test_a_store_that_is_there_is_opened(tmp_path, capsys):
    file = corpus(tmp_path)
    store = run(data(file), tmp_path / "store")
    file.unlink()  # the text is not needed any more
    assert prepare.prepare(data(file, workers=2), tmp_path / "store").fingerprint == store.fingerprint
    assert "is prepared already: train" in capsys.readouterr().out


def test_a_store_of_another_configuration_is_refused(tmp_path):
    file = corpus(tmp_path)
    before = contents(run(data(file), tmp_path / "store").path)
    with pytest.raises(DataError, match=r"was prepared with data\.held_out=0\.1, not 0\.2; give another output"):
        run(data(file, held_out=0.2), tmp_path / "store")
    assert contents(tmp_path / "store") == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    file = corpus(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not a store: it has no manifest"):
        run(data(file), tmp_path / "store")
    assert contents(tmp_path / "store") == {"notes.txt": b"mine"}


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "store").mkdir()
    assert run(data(corpus(tmp_path)), tmp_path / "store").split("train").documents > 0


def test_two_runs_into_one_folder(tmp_path):
    file = corpus(tmp_path)
    work = tmp_path / "store.preparing"
    work.mkdir()
    with open(work / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"another process is preparing .*store"):
            run(data(file), tmp_path / "store")
    assert run(data(file), tmp_path / "store").split("train").documents > 0  # the lock went with its process


FULL_AT = {
    "preparing.encoding.np.savez": r"parts/00000-000000\.npz",
    "store.shards.ShardWriter.append": r"store\.preparing/store/\S+\.shard",
    "prepare.write_manifest": "",
}


@pytest.mark.parametrize("where", FULL_AT)
def test_a_full_disk(tmp_path, small_parts, monkeypatch, where):
    file = corpus(tmp_path)
    whole = contents(run(data(file), tmp_path / "whole").path)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"data_pipeline.{where}", full)
        with pytest.raises(DataError, match=rf"the disk of \S*{FULL_AT[where]} is full; free some space") as caught:
            run(data(file), tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()
    assert contents(run(data(file), tmp_path / "store").path) == whole


def test_text_that_cannot_be_used(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n\n \n")
    (tmp_path / "latin.txt").write_bytes(b"one.\n\ncaf\xe9.\n\n" * 9)
    file = corpus(tmp_path)
    cases = {
        r"config\.data\.sources is empty": Data(),
        r"none\.txt' does not exist": data(tmp_path / "none.txt"),
        r"config\.data\.sources hold no text": data(tmp_path / "blank.txt"),
        r"latin\.txt is not UTF-8: byte 0xe9 at offset 9": data(tmp_path / "latin.txt"),
        "vocab_size=5000 is more than the text supports": data(file, vocab_size=5000),
        r"config\.data\.held_out=1e-09 of 300 documents leaves none to held_out": data(file, held_out=1e-9),
    }
    for message, configuration in cases.items():
        for workers in (1, 2) if "latin" in message else (1,):
            with pytest.raises(DataError, match=message):
                run(Data(**vars(configuration) | {"workers": workers}), tmp_path / "store")
            assert not (tmp_path / "store").exists()
            assert not (tmp_path / "store.preparing").exists()
    with pytest.raises(ConfigError, match="has no variant 'text_file'; did you mean 'text_files'"):
        run(Data(sources=(use("text_file"),)), tmp_path / "store")


def test_too_few_held_out_documents_are_said_before_tokenizing(tmp_path, monkeypatch, capsys):
    file = corpus(tmp_path, documents=20)
    texts = file.read_text().split("\n\n")
    count = lambda share: sum(split_of(Document("", text), share) == "held_out" for text in texts)
    none, one = (next(s for s in np.linspace(0.5, 1e-6, 5000).tolist() if count(s) == n) for n in (0, 1))
    monkeypatch.setattr(prepare, "make_tokenizer", dies_at_once)
    with pytest.raises(DataError, match=rf"held_out={none} of 20 documents leaves none to held_out"):
        run(data(file, held_out=none), tmp_path / "store")
    with pytest.raises(DataError, match=r"held_out=0.9+ of 20 documents leaves none to train"):
        run(data(file, held_out=0.9999999), tmp_path / "store")
    capsys.readouterr()
    with pytest.raises(Killed):
        prepare.prepare(data(file, held_out=one), tmp_path / "store")
    assert "holds out 1 of 20 documents, on which all held-out figures will rest" in capsys.readouterr().out


def test_whether_enough_is_held_out_takes_no_more_than_the_first_parts(tmp_path, small_parts):
    source = prepare.open_sources(data(corpus(tmp_path)), tmp_path)[0]
    read = []

    def parts():
        for part in source.parts():
            read.append(part)
            yield part

    assert held_out.check_enough([dataclasses.replace(source, parts=parts)], 0.1) == ""
    assert len(read) < len(list(source.parts())) / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"cleaning": (use("length", leest=3),)},
        {"cleaning": (use("characters", letters=2.0),)},
        {"sentences": use("englisch")},
        {"sentences": use("english", quick=True)},
        {"tokenizer": use("sentencepiece", size=60)},
        {"tokenizer": use("wordpiece", vocab_size="60")},
        {"words": use("pieces", all=True)},
    ],
    ids=str,
)
def test_a_misspelt_step_is_said_before_the_first(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(prepare, "open_sources", dies_at_once)
    with pytest.raises(ConfigError, match=r"has no (variant|option)|is not |must be a share"):
        run(dataclasses.replace(data(corpus(tmp_path)), **wrong), tmp_path / "store")


def test_a_document_far_above_the_block_size(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "PART_BYTES", 1 << 12)
    monkeypatch.setattr(_files, "LONGEST_DOCUMENT", 1 << 14)
    monkeypatch.setattr(encoding, "_CHARACTERS_AT_ONCE", 1 << 10)
    file = corpus(tmp_path)
    with open(file, "a") as opened:
        opened.write("\n\n" + "The river runs. " * 10_000)
    store = run(data(file), tmp_path / "store")
    whole = run(data(corpus(tmp_path)), tmp_path / "whole")
    splits = [store.split(name) for name in ("train", "held_out")]
    before = [whole.split(name) for name in ("train", "held_out")]
    assert sum(s.sentences for s in splits) >= sum(s.sentences for s in before) + 10_000
    (lengths,) = [np.diff(np.concatenate([s.document_offsets for s in splits[0].shards]))]
    assert lengths.max() < 2000


def test_half_surrogates_of_json_do_no_harm(tmp_path):
    lines = [json.dumps({"text": text}) for text in corpus(tmp_path).read_text().split("\n\n")]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, '{"text": "half \\ud800 a pair"}']))
    source = use("json_lines", paths=str(tmp_path / "a.jsonl"))
    store = run(Data(sources=(source,), tokenizer=use("sentencepiece", vocab_size=60), workers=1), tmp_path / "store")
    assert store.split("train").documents + store.split("held_out").documents == 301


@dataclasses.dataclass(frozen=True)
class Times:
    factor: int

    def __call__(self, x: int) -> int:
        return self.factor * x


def square(x: int) -> int:
    if x == 13:
        raise DataError("13 is bad")
    if x == 14:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


@pytest.mark.parametrize("number", [1, 3])
def test_workers_serve_one_function_after_the_other_in_order(number):
    with Workers(number) as workers:
        assert list(workers.map(square, range(9))) == [x * x for x in range(9)]
        assert list(workers.map(Times(7), range(20))) == [7 * x for x in range(20)]
        with pytest.raises(DataError, match="13 is bad"):
            list(workers.map(square, [1, 13, 2]))
        assert list(workers.map(Times(3), range(4))) == [0, 3, 6, 9]  # an error of an item ends no process


def test_a_killed_worker_is_named():
    with Workers(2) as workers, pytest.raises(DataError, match="a worker process was killed"):
        list(workers.map(square, [1, 14, 2]))


def test_a_store_of_other_words_or_other_text_is_refused(tmp_path):
    file = corpus(tmp_path)
    configuration = data(file)
    run(configuration, tmp_path / "store")
    with pytest.raises(DataError, match=r"data.words="):
        run(dataclasses.replace(configuration, words=use("jieba")), tmp_path / "store")
    file.write_text(file.read_text() + "One more document.\n")
    with pytest.raises(DataError, match="prepared from other text"):
        run(configuration, tmp_path / "store")
    file.unlink()
    assert (
        run(configuration, tmp_path / "store").split("train").documents
    )  # the text is gone: the store is what there is

"""A store on a remote path: the same batches, whole files only, within limits. fsspec's memory stands for a bucket."""

import json
import os
import shutil
import time

import fsspec
import numpy as np
import pytest
from texts import SPECIALS, store

from configuration.variants import use
from data_pipeline import store as store_module
from data_pipeline.batches import pipeline
from data_pipeline.errors import DataError
from data_pipeline.store import Store, remote

DOCUMENTS = [[(7 * d + 5 * s) % 23 + 1 for s in range(d % 6 + 1)] for d in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "bert_jax" / "stores"


@pytest.fixture
def local(tmp_path):
    return store(tmp_path, DOCUMENTS, documents_per_shard=17, held_out=DOCUMENTS[:20])


@pytest.fixture
def url(local):
    return upload(local, "bucket/store")


def upload(local, name):
    files = fsspec.filesystem("memory")
    if files.exists(f"/{name}"):
        files.rm(f"/{name}", recursive=True)
    files.put(str(local.path), f"/{name}", recursive=True)
    return f"memory://{name}"


def batch(opened):
    return pipeline.PackedText([opened.split("train")], use("full_sentences"), 37, SPECIALS).batch(3, 8)


def test_an_empty_name_of_the_cache_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert remote.cache_folder() == tmp_path / ".cache/bert_jax"


def test_the_same_batches_as_from_the_local_store(local, url):
    opened = Store.open(url)
    assert opened.fingerprint == local.fingerprint
    np.testing.assert_array_equal(opened.token_counts, local.token_counts)
    mine, theirs = batch(opened), batch(local)
    for name in theirs:
        np.testing.assert_array_equal(mine[name], theirs[name])
    fsspec.filesystem("memory").rm("/bucket/store/train-00001.shard")
    np.testing.assert_array_equal(batch(Store.open(url))["tokens"], theirs["tokens"])  # from the cache


def test_shards_come_in_the_background(local, url):
    opened = Store.open(url)
    files = [opened.path / name for name in opened.manifest.files]
    end = time.monotonic() + 20
    while not all(file.exists() for file in files) and time.monotonic() < end:
        time.sleep(0.01)
    for file in files:
        assert file.read_bytes() == (local.path / file.relative_to(opened.path)).read_bytes()


def test_a_reader_does_not_wait_for_the_files_before_its_own(local, url, monkeypatch):
    monkeypatch.setattr(remote.Cache, "start", lambda self, names: None)
    last = Store.open(url).split("train").shards[-1]
    assert last.tokens.tolist() == local.split("train").shards[-1].tokens.tolist()
    assert [file.name for file in last.path.parent.glob("*.shard")] == [last.path.name]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"train-00001\.shard has \d+ bytes where the manifest says \d+"),
        (lambda data: bytes([data[0] ^ 4]) + data[1:], r"train-00001\.shard is damaged: its checksum differs"),
        (None, r"memory://bucket/store/train-00001\.shard is missing"),
    ],
)
def test_damage_on_the_way_is_found_and_not_kept(url, damage, message):
    files, name = fsspec.filesystem("memory"), "/bucket/store/train-00001.shard"
    whole = files.cat_file(name)
    files.rm(name)
    if damage:
        files.pipe_file(name, damage(whole))
    opened = Store.open(url)
    with pytest.raises(DataError, match=message):
        batch(opened)
    assert not (opened.path / "train-00001.shard").exists()
    files.pipe_file(name, whole)
    assert batch(opened)["tokens"].size  # once it is restored, the same run goes on


def test_the_cache_keeps_to_its_limit(local, url, tmp_path, cache):
    other = store(tmp_path / "other", DOCUMENTS[::-1])
    size = sum(facts.bytes for facts in local.manifest.files.values())
    first = Store.open(url, cache_bytes=2 * size - 1)
    batch(first)
    os.utime(first.path, (1, 1))
    second = Store.open(upload(other, "bucket/other"), cache_bytes=size + 1)
    assert [folder.name for folder in cache.iterdir()] == [second.path.name]
    with pytest.raises(DataError, match=r"more than the .* GB that the cache .*; raise data\.cache_gb"):
        Store.open(url, cache_bytes=size - 1)
    assert second.path.exists()


def test_a_small_store_opens_on_a_disk_that_is_nearly_full(local, url, monkeypatch):
    size = sum(facts.bytes for facts in local.manifest.files.values())
    disk = shutil.disk_usage("/")
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: disk._replace(total=10**13, free=size))
    with pytest.raises(DataError, match=r"more than the .* GB that the cache"):
        Store.open(url)
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: disk._replace(total=10**13, free=2 * size))
    assert batch(Store.open(url))["tokens"].size


def test_what_a_killed_process_left_goes(url):
    opened = Store.open(url)
    left = opened.path / "train-00000.shard.999999999.x.fetching"
    left.write_bytes(b"half")
    Store.open(url)
    assert not left.exists()


def test_paths_that_are_no_store(url):
    with pytest.raises(DataError, match=r"memory://bucket/none is not a store: it has no manifest\.json"):
        Store.open("memory://bucket/none")
    with pytest.raises(DataError, match="cannot be read: Protocol not known: nosuch"):
        Store.open("nosuch://bucket/store")
    manifest = json.loads(fsspec.filesystem("memory").cat_file("/bucket/store/manifest.json"))
    fsspec.filesystem("memory").pipe_file("/bucket/store/manifest.json", json.dumps(manifest | {"version": 7}).encode())
    with pytest.raises(DataError, match=r"memory://bucket/store/manifest\.json is of format version 7"):
        Store.open(url)


def test_a_store_is_read_whole_once(local, tmp_path):
    Store.open(local.path, verify="once")
    shard = local.path / "train-00000.shard"
    whole, stat = shard.read_bytes(), shard.stat()
    assert Store.open(local.path, verify="once").fingerprint == local.fingerprint
    shard.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # even where the time is that of before
    with pytest.raises(DataError, match=r"train-00000\.shard is damaged"):
        Store.open(local.path, verify="once")


def test_a_flipped_bit_in_the_cache_is_fetched_again(local, url, cache, capsys):
    batch(Store.open(url))
    (shard,) = cache.glob("*/train-00000.shard")
    damaged = bytearray(shard.read_bytes())
    damaged[40] ^= 4
    shard.write_bytes(damaged)
    np.testing.assert_array_equal(batch(Store.open(url))["tokens"], batch(local)["tokens"])
    assert "train-00000.shard in the cache is damaged; it is fetched again" in capsys.readouterr().err


def test_a_manifest_without_end_is_not_read_whole(url, monkeypatch):
    monkeypatch.setattr(store_module, "LARGEST_MANIFEST", 100)
    with pytest.raises(DataError, match=r"manifest.json is larger than"):
        Store.open(url)

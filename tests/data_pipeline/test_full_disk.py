"""A disk that really fills up while text is prepared; needs the right to mount one."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from bert_jax.config import Data
from configuration.variants import use
from data_pipeline.errors import DataError
from data_pipeline.prepare import prepare
from data_pipeline.store import Store
from data_pipeline.tokenizers import sentencepiece


@pytest.fixture
def disk(tmp_path):
    """A small disk, and the function that changes its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], capture_output=True)

    if os.geteuid() or mount("size=4m").returncode:
        pytest.skip("mounting a disk is not allowed here")
    yield folder, lambda size: mount("remount", f"size={size}")
    subprocess.run(["umount", folder], check=True)


def stopped_by(data, output):
    """What stops a preparation; "" for nothing."""
    try:
        prepare(data, output, progress=False)
    except DataError as error:
        return str(error)
    return ""


def test_every_file_that_fills_the_disk_is_named(tmp_path, disk):
    folder, resize = disk
    random = np.random.default_rng(1)
    words = np.array(["river", "mill", "school", "door", "winter"])
    paragraphs = (" ".join(words[random.integers(0, 5, 40)]) + "." for _ in range(900))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs))
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "text.txt")),),
        cleaning=(use("exact_duplicates"),),
        tokenizer=use("sentencepiece", vocab_size=23),
        workers=1,
    )
    named = set()
    resize("8k")
    pages = 2  # of 4 kB
    while message := stopped_by(data, folder / "store"):
        said = re.fullmatch(rf"the disk of {folder}/store\.preparing/(\S+) is full; free .*", message)
        assert said is not None, message
        named.add(said[1].rsplit("/")[-1])
        shutil.rmtree(folder / "store.preparing", ignore_errors=True)
        pages += 4
        resize(f"{4 * pages}k")
    assert Store.open(folder / "store", verify="checksums").split("train").documents > 800
    assert len(named) >= 3, named


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up(tmp_path, disk, workers):
    folder, resize = disk
    random = np.random.default_rng(1)
    words = np.array(["river", "mill", "school", "door", "winter"])
    paragraphs = (" ".join(words[random.integers(0, 5, 40)]) + "." for _ in range(60_000))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs))  # 15 MB in four parts
    tokenizer = sentencepiece.build(lambda: dict.fromkeys(words, 9) | {"mill.": 3}, vocab_size=23)
    tokenizer.save(tmp_path / "tokenizer")
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "text.txt")),),
        tokenizer=use("existing", folder=str(tmp_path / "tokenizer")),
        workers=workers,
    )
    with pytest.raises(DataError, match=r"the disk of .*/disk/\S+ is full; free some space and run again"):
        prepare(data, folder / "store", progress=False)
    assert not (folder / "store").exists()
    resize("200m")
    store = prepare(data, folder / "store", progress=False)
    whole = prepare(data, tmp_path / "store", progress=False)
    assert store.fingerprint == whole.fingerprint
    assert Store.open(folder / "store", verify="checksums").split("train").documents > 50_000

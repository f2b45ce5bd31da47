"""Text on remote paths: globs and folders through etils.epath; fsspec's memory stands for a bucket."""

import sys

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from configuration import variants
from configuration.variants import use
from data_pipeline.errors import DataError


class Bucket(MemoryFileSystem):
    """Answers to s3://."""

    protocol = "s3"
    store = {}  # noqa: RUF012, as in the class above
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("s3://"))


@pytest.fixture
def bucket(monkeypatch):
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Bucket)
    files = Bucket()
    for i in range(3):
        files.pipe_file(f"/corpus/part-{i}.txt", f"Text {i} a.\n\nText {i} b.".encode())
    files.pipe_file("/corpus/notes.md", b"Not text.")
    return files


def texts(paths, tmp_path):
    source = variants.load("data_pipeline.sources", use("text_files", paths=paths))(tmp_path)
    documents = [document for part in source.parts() for document in part.read()]
    return [document.text for document in documents], source.size


@pytest.mark.usefixtures("bucket")
def test_globs_and_folders(tmp_path):
    everything = [f"Text {i} {letter}." for i in range(3) for letter in "ab"]
    assert texts("s3://corpus/part-*.txt", tmp_path) == (everything, 60)
    assert texts("s3://corpus", tmp_path) == (everything, 60)
    assert texts("s3://corpus/part-1.txt", tmp_path) == (everything[2:4], 20)
    with pytest.raises(DataError, match=r"s3://corpus/no-\*\.txt' matches no file"):
        texts("s3://corpus/no-*.txt", tmp_path)

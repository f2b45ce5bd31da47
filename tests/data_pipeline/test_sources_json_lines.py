"""JSON-lines, plain and packed."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, _files, json_lines

RECORDS = [{"text": f"document {i}\n\nmore é \u2028 {'x' * i}", "title": f"title {i}"} for i in range(23)]


def read(source) -> list[Document]:
    return [document for part in source.parts() for document in part.read()]


def build(path, **options):
    return json_lines.build(Path("unused"), paths=str(path), **options)


def write(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        path.write_bytes(pyarrow.compress(data, codec="zstd", asbytes=True))
    else:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_reads_plain_and_packed(tmp_path, monkeypatch, end, block):
    monkeypatch.setattr(_files, "PART_BYTES", block)
    lines = "\n".join(json.dumps(record, ensure_ascii=i % 2 == 0) for i, record in enumerate(RECORDS))
    source = build(write(tmp_path / f"a.{end}", f"{lines}\n\n".encode()))
    documents = read(source)
    assert [document.text for document in documents] == [record["text"] for record in RECORDS]
    assert len({document.id for document in documents}) == len(RECORDS)
    assert 0 < sum(part.size for part in source.parts()) <= source.size


def test_other_fields(tmp_path):
    path = write(tmp_path / "a.jsonl", b'{"body": "text", "number": 7}\n')
    assert read(build(path, text_field="body", id_field="number")) == [Document("7", "text")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"a\.jsonl@16: this line is not JSON"),
        (b"[" * 100_000, r"a\.jsonl@16: this line is not JSON"),
        (b"[1]", r"a\.jsonl@16: this line has no field 'text' \(not an object\)"),
        (b'{"body": "x"}', r"a\.jsonl@16: this line has no field 'text' \(body\); set json_lines\.text_field"),
        (b'{"text": null}', r"field 'text' holds no text but None"),
        (b'{"text": "\xff"}', r"a\.jsonl is not UTF-8: byte 0xff at offset 26"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", b'{"text": "one"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        read(build(path))


@pytest.mark.parametrize("end", ["gz", "zst"])
def test_a_cut_packed_file(tmp_path, end):
    path = write(tmp_path / f"a.jsonl.{end}", b'{"text": "one"}\n' * 1000)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cannot be unpacked: .*; fetch it again"):
        read(build(path))


def test_a_line_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(_files, "PART_BYTES", 64)
    monkeypatch.setattr(json_lines, "LONGEST_LINE", 256)
    path = write(tmp_path / "a.jsonl", b'{"text": "' + b"x" * 1000)
    with pytest.raises(DataError, match="has a line above 0 MiB"):
        read(build(path))

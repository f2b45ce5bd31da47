"""Texts of a file, one a record."""

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from data_pipeline.errors import DataError
from data_pipeline.texts import open_texts

TEXTS = ["the mill", "", "  Über \u2028 the sea ", "x" * 5000]


def write(folder: Path, kind: str, texts: list) -> Path:
    path = folder / f"texts.{kind}"
    if kind == "txt":
        path.write_bytes("\r\n".join(texts).encode())
    elif kind == "jsonl":
        path.write_text("\n\n".join(json.dumps({"id": 1, "text": text}) for text in texts) + "\n")
    else:
        parquet.write_table(pyarrow.table({"text": texts, "n": list(range(len(texts)))}), path)
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_every_record_is_a_text_in_order(tmp_path: Path, kind: str) -> None:
    texts = open_texts(write(tmp_path, kind, TEXTS))
    assert texts.number == len(TEXTS)
    assert list(texts.read()) == TEXTS
    assert list(texts.read()) == TEXTS


def test_a_mark_at_the_start_and_a_last_line_end_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\ntwo\n")
    texts = open_texts(tmp_path / "a.txt")
    assert (texts.number, list(texts.read())) == (2, ["one", "two"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"one\ntw\xffo\n", r"a\.txt:2 is not UTF-8: byte 0xff after 2"),
        ("a.txt", b"", "a.txt is empty"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": 3}\n', r"a\.jsonl:3: 'text' holds no text but 3"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: this line is not JSON"),
        ("a.jsonl", b'["text"]\n', r"a\.jsonl:1: this line is no object"),
        ("a.jsonl", b'{"txt": "a"}\n', r"a\.jsonl:1 has no field 'text'; did you mean 'txt'"),
        ("a.parquet", b"nothing of the kind", r"a\.parquet cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(open_texts(tmp_path / name).read())


def test_parquet_names_the_column_and_the_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts\.parquet row 1: 'text' holds no text but None"):
        list(open_texts(write(tmp_path, "parquet", ["a", None])).read())
    with pytest.raises(DataError, match=r"has no column 'abstract'"):
        open_texts(tmp_path / "texts.parquet", "abstract")
    with pytest.raises(DataError, match="row 0: 'n' holds no text but 0"):
        list(open_texts(tmp_path / "texts.parquet", "n").read())
    with pytest.raises(DataError, match="does not exist"):
        open_texts(tmp_path / "none.txt")


def test_halves_of_surrogate_pairs_do_not_reach_the_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n')
    assert list(open_texts(tmp_path / "a.jsonl").read()) == ["a\ufffdb"]


def test_a_table_with_text_that_is_not_utf_8(tmp_path: Path) -> None:
    bad = pyarrow.py_buffer(b"ab\xff\xfe")
    column = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), bad]
    )
    parquet.write_table(pyarrow.Table.from_arrays([column], names=["text"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: column 'text' of row 1 is not UTF-8"):
        list(open_texts(tmp_path / "a.parquet").read())


def test_a_table_with_a_column_twice(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has 2 columns 'text'"):
        open_texts(tmp_path / "a.parquet")

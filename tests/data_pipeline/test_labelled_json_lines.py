"""JSON-lines and Parquet: values come back as they were written."""

import gzip
import json

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as writer
from tests.data_pipeline import hostile

from data_pipeline.errors import DataError
from data_pipeline.labelled import json_lines, parquet

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | hostile.texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("objects")


@given(
    records=st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), min_size=1, max_size=5), data=st.data()
)
def test_objects_come_back(folder, records, data):
    lines = [json.dumps(record, ensure_ascii=data.draw(st.booleans())) for record in records]
    (folder / "a.jsonl").write_bytes("\n".join(lines).encode("utf-8"))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\r\n\r\n".join(lines).encode("utf-8")))
    for name in ("a.jsonl", "b.jsonl.gz"):
        assert [record.values for record in json_lines.build(train=str(folder / name)).read("train")] == records


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", r"a\.jsonl:2: this line is not JSON"),
        (b"[1]", r"a\.jsonl:2: this line is no object but \[1\]"),
        (b'{"a": "\xff"}', r"a\.jsonl is not UTF-8: byte 0xff at offset"),
        (b"[" * 200_000, r"a\.jsonl:2: this line is nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"a\.jsonl:2: this line is not JSON"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        json_lines.build(train=str(tmp_path / "a.jsonl")).read("train")


def test_halves_of_surrogate_pairs(tmp_path):
    (tmp_path / "a.jsonl").write_text(r'{"a": "x\ud800y", "b\udc00": ["\ud83d\ude00", "\ude00"]}')
    (record,) = json_lines.build(train=str(tmp_path / "a.jsonl")).read("train")
    assert record.values == {"a": "x\ufffdy", "b\ufffd": ["😀", "\ufffd"]}


def test_a_cut_file(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-9])
    with pytest.raises(DataError, match=r"a\.jsonl\.gz cannot be read: .*; fetch it again"):
        json_lines.build(train=str(tmp_path / "a.jsonl.gz")).read("train")


@given(texts=st.lists(hostile.texts | st.none(), min_size=1, max_size=20), rows=st.integers(1, 7))
def test_tables_come_back(folder, texts, rows):
    columns = {"text": texts, "n": list(range(len(texts))), "words": [[t or "", "x"] for t in texts]}
    writer.write_table(pyarrow.table(columns), folder / "a.parquet", row_group_size=rows)
    found = parquet.build(train=str(folder / "a.parquet")).read("train")
    assert {name: [record.values[name] for record in found] for name in columns} == columns
    assert [record.where for record in found] == [f"{folder}/a.parquet row {i}" for i in range(len(texts))]


def test_damaged_tables(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 this is no table at all, whatever its name says")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet after row 0"):
        parquet.build(train=str(path)).read("train")
    writer.write_table(pyarrow.table({"text": [f"text {i}" for i in range(1000)]}), path, row_group_size=100)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet after row \d"):
        parquet.build(train=str(path)).read("train")

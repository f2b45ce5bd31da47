"""Parquet tables."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet as writer

from data_pipeline import sources
from data_pipeline.errors import DataError
from data_pipeline.sources import Document, parquet

TEXTS = [f"document {i} é {'x' * i}" for i in range(101)]


def read(source) -> list[Document]:
    return [document for part in source.parts() for document in part.read()]


def build(path, **options):
    return parquet.build(Path("unused"), paths=str(path), **options)


def write(path: Path, columns: dict[str, list], rows: int = 37) -> Path:
    writer.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


@pytest.mark.parametrize("part", [50, 1 << 20])
def test_reads_every_row_in_order(tmp_path, monkeypatch, part):
    monkeypatch.setattr(sources, "PART_BYTES", part)
    path = write(tmp_path / "a.parquet", {"text": TEXTS, "n": list(range(101))})
    source = build(path)
    assert read(source) == [Document(f"{path}@{i}", text) for i, text in enumerate(TEXTS)]
    assert 0 < sum(p.size for p in source.parts()) <= source.size


def test_other_columns_and_rows_without_text(tmp_path):
    path = write(tmp_path / "a.parquet", {"body": ["one", None, "", "four"], "key": [1, 2, 3, 4]})
    assert read(build(path, text_column="body", id_column="key")) == [Document("1", "one"), Document("4", "four")]


def test_bad_tables(tmp_path):
    path = write(tmp_path / "a.parquet", {"body": ["one"], "n": [1]})
    with pytest.raises(DataError, match=r"has no column 'text' \(body, n\); set parquet\.text_column"):
        build(path)
    with pytest.raises(DataError, match="column 'n' holds no text but int64"):
        build(path, text_column="n")
    path.write_bytes(b"PAR1 this is no table at all, whatever its name says")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        build(path)


def test_a_column_that_is_there_twice(tmp_path):
    table = pyarrow.table([pyarrow.array(["one"]), pyarrow.array(["two"])], names=["text", "text"])
    writer.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet has 2 columns 'text'; give each its own name"):
        build(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["text", "key"])
def test_text_that_is_not_utf8(tmp_path, column):
    texts = [f"document {i}".encode() for i in range(101)]
    columns = {"text": list(texts), "key": list(texts)}
    columns[column][90] = b"caf\xe9"
    unchecked = {}
    for name, values in columns.items():
        binary = pyarrow.array(values, pyarrow.binary())
        unchecked[name] = pyarrow.Array.from_buffers(pyarrow.string(), 101, binary.buffers())
    path = write(tmp_path / "a.parquet", unchecked)
    with pytest.raises(DataError, match=rf"a\.parquet: row group 2: column '{column}' of row 90 is not UTF-8"):
        read(build(path, id_column="key"))


def test_a_damaged_row_group(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": TEXTS})
    group = writer.ParquetFile(path).metadata.row_group(1).column(0)
    start, size = group.dictionary_page_offset, group.total_compressed_size
    data = bytearray(path.read_bytes())
    for damage in (b"\xff" * size, bytes(size), data[start : start + size // 2] + b"\x55" * (size - size // 2)):
        path.write_bytes(data[:start] + damage + data[start + size :])
        source = build(path)
        with pytest.raises(DataError, match=r"a\.parquet: row group 1") as caught:
            read(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
def test_a_file_that_is_cut(tmp_path, kept):
    path = write(tmp_path / "a.parquet", {"text": TEXTS})
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet") as caught:
        build(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_after_it_was_found(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": TEXTS})
    source = build(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet"):
        read(source)

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

"""Tables of comma- or tab-separated values."""

import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data_pipeline import hostile

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, delimited


def read(path, split="train", **options):
    return delimited.build(**{"train": str(path), **options}).read(split)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


CELLS = hostile.texts.map(lambda text: text.replace("\0", ""))
TABLES = st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=5))


def written(rows, **options) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", **options).writerows(rows)
    return file.getvalue()


@given(rows=TABLES, delimiter=st.sampled_from(",;\t|"))
def test_what_the_csv_module_writes_is_read_back(folder, rows, delimiter):
    names = [f"c{i}" for i in range(len(rows[0]) if rows else 1)]
    path = folder / "a.csv"
    path.write_bytes(written([names, *rows], delimiter=delimiter, quoting=csv.QUOTE_ALL).encode())
    expected = [row for row in rows if any(value.strip() for value in row)]
    found = read(path, delimiter=delimiter, quoting="double")
    assert [list(record.values.values()) for record in found] == expected
    assert all(list(record.values) == names for record in found)


@given(rows=TABLES)
def test_tabs_without_quoting(folder, rows):
    """A quote, and whatever Unicode takes for the end of a line, is text like any other."""
    plain = [[value.translate(str.maketrans("\t\n\r", "   ")) for value in row] for row in rows]
    lines = ["\t".join(row) for row in plain]
    path = folder / "a.tsv"
    path.write_bytes("\r\n".join([*lines, ""]).encode() or b"\n")
    names = tuple(f"c{i}" for i in range(len(rows[0]) if rows else 1))
    found = read(path, header=False, columns=names)
    expected = [row for row, line in zip(plain, lines, strict=True) if line.strip()]
    assert [list(record.values.values()) for record in found] == expected


def test_where_records_stand(folder):
    (folder / "a.csv").write_text('a,b\n\n1,"two\nlines"\n3,4\n')
    assert read(folder / "a.csv") == [
        Record({"a": "1", "b": "two\nlines"}, f"{folder}/a.csv:3"),
        Record({"a": "3", "b": "4"}, f"{folder}/a.csv:5"),
    ]
    (folder / "a.tsv").write_text('a\tb\n\n"1\t2"\n')
    assert read(folder / "a.tsv") == [Record({"a": '"1', "b": '2"'}, f"{folder}/a.tsv:3")]


def test_delimiters_by_the_name(folder):
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa,b\n1,2\n"))  # with a byte-order mark
    (folder / "b.txt").write_text("a\tb\n1\t2\n")
    for name in ("a.csv.gz", "b.txt"):
        assert [record.values for record in read(folder / name)] == [{"a": "1", "b": "2"}]


def test_several_files_each_with_its_header(tmp_path):
    (tmp_path / "1.tsv").write_text("a\tb\n1\t2\n")
    (tmp_path / "2.tsv").write_text("b\ta\n3\t4\n")
    expected = [{"a": "1", "b": "2"}, {"b": "3", "a": "4"}]
    assert [record.values for record in read(tmp_path)] == expected
    assert [record.values for record in read(tmp_path / "*.tsv")] == expected
    both = delimited.build(train=(str(tmp_path / "1.tsv"), str(tmp_path / "2.tsv")), test=str(tmp_path / "1.tsv"))
    assert both.splits == ("train", "test")
    assert [record.values for record in both.read("train")] == expected
    assert len(both.read("test")) == 1
    with pytest.raises(ConfigError, match=r"delimited has no dev split \(there are: train, test\)"):
        both.read("dev")


def test_a_value_longer_than_the_csv_module_takes(tmp_path):
    (tmp_path / "a.csv").write_text(f'a\n"{"x" * 200_000}"\n')
    before = csv.field_size_limit()
    assert len(read(tmp_path / "a.csv")[0].values["a"]) == 200_000
    assert csv.field_size_limit() == before


def test_other_names_than_the_headers(tmp_path):
    (tmp_path / "a.csv").write_text(",text\n0,one\n")
    assert read(tmp_path / "a.csv", columns=("n", "text"))[0].values == {"n": "0", "text": "one"}


@pytest.mark.parametrize(
    ("contents", "options", "message"),
    [
        ("a\tb\n1\t2\n3\n", {}, r"a\.tsv:3: 1 columns where there are 2 names \(a, b\); mend the line"),
        ("a\tb\n1\t2\t3\n", {}, r"a\.tsv:2: 3 columns where there are 2"),
        ("a\ta\n", {}, r"a\.tsv:1 has the column 'a' twice; name the columns by delimited\.columns"),
        ("\ta\n", {}, r"a\.tsv:1 has a column without a name"),
        ('a\n1\n"2\n3\n', {"quoting": "double"}, r"a\.tsv:3: unexpected end of data; mend the quotes, or set"),
        ('a\n"1"x\n', {"quoting": "double"}, r"a\.tsv:2: '\t' expected after '\"'"),
        ("a\n1\r2\n", {"quoting": "double"}, r"a\.tsv:2: new-line character seen in unquoted field"),
        (b"a\nb\xff\n", {}, r"a\.tsv is not UTF-8: byte 0xff at offset 3"),
        (b"a\n\0\n", {}, r"a\.tsv is a binary file: there is a zero byte at offset 2"),
        (b"a\n\xff", {"encoding": "ascii"}, r"a\.tsv is not ascii: .*; set encoding to what it is"),
        ("a\n", {"encoding": "utf-9"}, r"encoding='utf-9' is unknown"),
        ("a\n", {"header": False}, r"delimited\.columns is empty"),
        ("a\n", {"columns": ("a", "a")}, r"delimited\.columns has the column 'a' twice"),
        ("a\n", {"delimiter": ", "}, r"delimited\.delimiter=', ' is not one character"),
        ("a\n", {"delimiter": '"'}, r"delimited\.delimiter='\"' is not one character"),
    ],
)
def test_bad_tables(tmp_path, contents, options, message):
    (tmp_path / "a.tsv").write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises((ConfigError, DataError), match=message):
        read(tmp_path / "a.tsv", **options)


def test_other_encodings(tmp_path):
    for encoding in ("latin-1", "utf-16", "gb18030"):
        (tmp_path / "a.tsv").write_bytes("a\ncafé\n".encode(encoding))
        assert read(tmp_path / "a.tsv", encoding=encoding)[0].values == {"a": "café"}

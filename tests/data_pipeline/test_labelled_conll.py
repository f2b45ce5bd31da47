"""Words and tags in columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import conll


def read(path, **options):
    return [record.values for record in conll.build(train=str(path), **options).read("train")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("columns")


CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0 \t\n\r\ufeff") | st.sampled_from(
    "#-\u3000\x85\u2028"
)
WORDS = st.text(CHARACTERS, min_size=1, max_size=6)
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-PER.NAM", "S-产品"])
SENTENCES = st.lists(st.lists(st.tuples(WORDS, TAGS), min_size=1, max_size=5), min_size=1, max_size=4)


@given(
    sentences=SENTENCES, between=st.sampled_from([" ", "\t"]), end=st.sampled_from(["\n", "\r\n"]), last=st.booleans()
)
def test_sentences_come_back(folder, sentences, between, end, last):
    blocks = [end.join(between.join((word, "x", tag)) for word, tag in sentence) for sentence in sentences]
    (folder / "a.conll").write_bytes((f"{end}{end} {end}".join(blocks) + end * last).encode())
    expected = [{"words": [w for w, _ in s], "tags": [t for _, t in s]} for s in sentences]
    assert read(folder / "a.conll") == expected
    assert read(folder / "a.conll", separator=between, tag_column=2) == expected


def test_which_columns(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("# a comment\n1  B-X  the  DT\n2 O # NN \n\n-DOCSTART- O -DOCSTART- -X-\n\n# x\n3 O c d\n")
    found = read(path, word_column=2, tag_column=1, comment="# ")
    assert found == [{"words": ["the", "#"], "tags": ["B-X", "O"]}, {"words": ["c"], "tags": ["O"]}]


def test_where_sentences_stand(tmp_path):
    (tmp_path / "a.txt").write_text("\na O\nb O\n\n\nc O")
    assert [r.where for r in conll.build(train=str(tmp_path)).read("train")] == [
        f"{tmp_path}/a.txt:2",
        f"{tmp_path}/a.txt:6",
    ]


def test_what_is_dropped_of_words(tmp_path):
    (tmp_path / "a.conll").write_text("李0\tB-PER\n10\tI-PER\n")
    assert read(tmp_path / "a.conll", drop=r"\d$") == [{"words": ["李", "1"], "tags": ["B-PER", "I-PER"]}]
    (tmp_path / "a.conll").write_text("李0\tO\n0\tO\n")
    with pytest.raises(DataError, match=r"a\.conll:2: an empty word or tag in '0\\tO'"):
        read(tmp_path / "a.conll", drop=r"\d$")


@pytest.mark.parametrize(
    ("contents", "options", "message"),
    [
        (b"a O\nb\n", {}, r"a\.txt:2: 1 columns in 'b'; the word is in column 0 and the tag in column -1"),
        (b"a O\n", {"tag_column": 3}, r"a\.txt:1: 2 columns in 'a O'"),
        (b"a\t\n", {"separator": "\t"}, r"a\.txt:1: an empty word or tag in 'a\\t'"),
        (b"a O\nb\xff O\n", {}, r"a\.txt is not UTF-8: byte 0xff at offset 5"),
        (b"a O\n", {"drop": "("}, r"conll\.drop='\(' is no regular expression"),
    ],
)
def test_bad_columns(tmp_path, contents, options, message):
    (tmp_path / "a.txt").write_bytes(contents)
    with pytest.raises((ConfigError, DataError), match=message):
        read(tmp_path / "a.txt", **options)

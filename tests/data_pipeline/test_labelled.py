"""Labelled sources opened: splits, columns, and a dev split of which equal texts are not on both sides."""

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configuration import variants
from configuration.variants import ConfigError, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, check_text, column, open_records
from data_pipeline.preparing.encoding import is_held_out, split_of
from data_pipeline.sources import Document


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def texts(records):
    return [record.values["text"] for record in records]


@pytest.fixture
def train(tmp_path):
    """Each text three times: as it is, with other white space and as full-width letters, and with another label."""
    records = []
    for i in range(300):
        text = f"text number {i}"
        wide = "".join(chr(ord(c) + 0xFEE0) if c != " " else "\u3000" for c in text)
        records += [{"id": f"{i}-{j}", "text": t, "label": str(j)} for j, t in enumerate((text, f" {text}\n", wide))]
    return write(tmp_path / "train.jsonl", records)


def test_equal_texts_never_land_on_both_sides(train):
    records = open_records(use("json_lines", train=train), dev_share=0.2)
    assert list(records) == ["train", "dev"]
    numbers = {split: [record.values["id"].split("-")[0] for record in found] for split, found in records.items()}
    assert not set(numbers["train"]) & set(numbers["dev"])
    assert all(found.count(n) == 3 for found in numbers.values() for n in found)
    assert 30 <= len(set(numbers["dev"])) <= 90  # of 300, 60 are expected
    assert len(records["train"]) + len(records["dev"]) == 900


def test_the_dev_split_is_a_function_of_text_share_and_seed(train):
    source = use("json_lines", train=train)
    first = open_records(source)
    assert open_records(source) == first
    assert texts(open_records(source, seed=1)["dev"]) != texts(first["dev"])
    more = open_records(source, dev_share=0.3)["dev"]
    assert set(texts(first["dev"])) < set(texts(more))  # a larger share takes more, and none less
    assert list(open_records(source, dev_share=0)) == ["train"]


def test_columns_to_tell_records_apart_by(train):
    by_id = open_records(use("json_lines", train=train), text=("id",))
    sides = {split: {record.values["id"].split("-")[0] for record in found} for split, found in by_id.items()}
    assert sides["train"] & sides["dev"]
    with pytest.raises(ConfigError, match=r"train\.jsonl:1 has no column 'test'; did you mean 'text'\?"):
        open_records(use("json_lines", train=train), text=("test",))


def test_given_splits_stay_as_they_are(tmp_path, train):
    dev, test = (write(tmp_path / f"{name}.jsonl", [{"text": name}]) for name in ("dev", "test"))
    records = open_records(use("json_lines", train=train, dev=dev, test=test))
    assert [(split, len(found)) for split, found in records.items()] == [("train", 900), ("dev", 1), ("test", 1)]
    assert list(open_records(use("json_lines", train=train, test=test))) == ["train", "dev", "test"]
    assert list(open_records(use("json_lines", test=test))) == ["test"]


def test_what_cannot_be_opened(tmp_path, train):
    with pytest.raises(ConfigError, match=r"has no variant 'json_line'; did you mean 'json_lines'\?"):
        open_records(use("json_line"))
    with pytest.raises(ConfigError, match=r"has no option 'trian'; did you mean 'train'\?"):
        open_records(use("json_lines", trian="x"))
    with pytest.raises(DataError, match=r"json_lines\.train is empty"):
        open_records(use("json_lines"))
    with pytest.raises(DataError, match=r"json_lines\.dev='.*none\.jsonl' does not exist"):
        open_records(use("json_lines", train=train, dev=str(tmp_path / "none.jsonl")))
    with pytest.raises(DataError, match=r"json_lines\.train='https://x/a\.jsonl': no files are read by https://"):
        open_records(use("json_lines", train="https://x/a.jsonl"))
    with pytest.raises(ConfigError, match=r"config\.dev_share is 1; it must be"):
        open_records(use("json_lines", train=train), dev_share=1)
    (tmp_path / "blank.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="the test split of json_lines has no record"):
        open_records(use("json_lines", train=train, test=str(tmp_path / "blank.jsonl")))
    few = write(tmp_path / "few.jsonl", [{"text": "one"}])
    with pytest.raises(DataError, match=r"no record of json_lines falls to the (dev|train) split when 0\.1 of the 1 "):
        open_records(use("json_lines", train=few))
    numbers = write(tmp_path / "numbers.jsonl", [{"n": 1}])
    with pytest.raises(DataError, match=r"numbers\.jsonl:1 has no column of text"):
        open_records(use("json_lines", train=numbers))


def test_columns_and_texts():
    record = Record({"sentence": "a", "label": 1, "empty": " \n", "invisible": "\u200b\ufeff\x00"}, "a.tsv:7")
    assert column(record, "label") == 1
    assert check_text(record, "sentence") == "a"
    with pytest.raises(ConfigError, match=r"a\.tsv:7 has no column 'sentense'; did you mean 'sentence'\?"):
        column(record, "sentense")
    with pytest.raises(DataError, match=r"a\.tsv:7: column 'label' holds no text but 1"):
        check_text(record, "label")
    for name in ("empty", "invisible"):
        with pytest.raises(DataError, match=rf"a\.tsv:7: the text in column '{name}' is empty"):
            check_text(record, name)


@given(st.text(), st.floats(0, 1))
def test_the_hash_of_documents_is_that_of_seed_0(text, share):
    written = "".join(unicodedata.normalize("NFKC", text).split()).encode("utf-8", "replace")
    place = int.from_bytes(hashlib.blake2b(written, digest_size=8).digest(), "big") / 2**64
    assert is_held_out(text, share) == (split_of(Document("", text), share) == "held_out") == (place < share)


def test_every_kind_has_no_required_option():
    for kind in variants.names("data_pipeline.labelled"):
        if kind != "packaged":  # has a set that it fetches by default
            with pytest.raises(DataError, match=rf"{kind}\.\w+ is empty"):
                variants.load("data_pipeline.labelled", use(kind))()

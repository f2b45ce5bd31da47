"""Lines of text as records, and splits from different sources."""

import json

import pytest

from configuration.variants import ConfigError, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import lines, open_records, splits


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.txt").write_text("the river\n\n  a mill \r\nthe sea\n")
    (tmp_path / "dev.jsonl").write_text(json.dumps({"first": "a", "second": "b", "score": 1.5}) + "\n")
    return tmp_path


def test_a_line_is_a_record(files) -> None:
    found = lines.build(train=str(files / "text.txt"))
    assert found.splits == ("train",)
    records = found.read("train")
    assert [record.values for record in records] == [{"text": "the river"}, {"text": "a mill"}, {"text": "the sea"}]
    assert records[1].where.endswith("text.txt:3")


def test_each_split_has_its_source(files) -> None:
    source = use(
        "splits",
        train=use("lines", train=str(files / "text.txt")),
        dev=use("json_lines", dev=str(files / "dev.jsonl")),
    )
    records = open_records(source)
    assert {split: len(found) for split, found in records.items()} == {"train": 3, "dev": 1}
    assert records["dev"][0].values["score"] == 1.5


def test_mistakes_are_one_clear_line(files) -> None:
    text = use("lines", train=str(files / "text.txt"))
    with pytest.raises(DataError, match=r"splits\.train is empty"):
        splits.build()
    with pytest.raises(ConfigError, match=r"splits.dev is lines, which has no dev split \(there are: train\)"):
        splits.build(train=text, dev=text)
    with pytest.raises(ConfigError, match="splits has no test source"):
        splits.build(train=text).read("test")
    with pytest.raises(DataError, match=r"lines.train"):
        splits.build(train=use("lines", train=str(files / "absent.txt")))

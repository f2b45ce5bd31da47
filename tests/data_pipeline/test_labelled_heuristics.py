"""Pairs whose shared words mislead: what the templates promise, and what is learnt beside them."""

import collections
import re

import pytest

from configuration.variants import ConfigError, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import heuristics, open_records

ROWS = "a\tb\tverdict\nA dog runs.\tA dog moves.\tYES\nA cat sits.\tNo cat sits.\tNO\n"
COLUMNS = {"first": "a", "second": "b", "label": "verdict", "entailed": "YES"}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def pairs(heuristic: str, each: int = 40, seed: int = 3):
    found = [record.values for record in heuristics.pairs(each, seed)]
    return [(words(v["premise"]), words(v["hypothesis"])) for v in found if v["group"].startswith(heuristic)]


def test_every_second_sentence_is_made_of_words_of_the_first() -> None:
    for heuristic in ("lexical_overlap", "subsequence", "constituent"):
        for premise, hypothesis in pairs(heuristic):
            assert not collections.Counter(hypothesis) - collections.Counter(premise), (premise, hypothesis)


@pytest.mark.parametrize("heuristic", ["subsequence", "constituent"])
def test_it_is_a_stretch_of_the_first(heuristic) -> None:
    for premise, hypothesis in pairs(heuristic):
        assert f" {' '.join(hypothesis)} " in f" {' '.join(premise)} "


def test_half_is_entailed_in_every_heuristic_and_no_pair_comes_twice() -> None:
    found = [record.values for record in heuristics.pairs(100, 0)]
    groups = collections.Counter((v["group"], v["label"]) for v in found)
    assert set(groups.values()) == {500}
    assert {group.endswith("_not_entailed") for group, label in groups if label == heuristics.OTHER} == {True}
    assert len(groups) == 6
    assert len({(v["premise"], v["hypothesis"]) for v in found}) == len(found) == 3000
    assert [record.values for record in heuristics.pairs(100, 0)] == found
    assert [record.values for record in heuristics.pairs(100, 1)] != found
    assert not any("{" in text for v in found for text in v.values())


def test_learnt_from_another_source(tmp_path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(ROWS)
    learnt = use("delimited", train=str(file))
    records = open_records(use("heuristics", learnt=learnt, **COLUMNS, each=1), dev_share=0)
    assert [record.values for record in records["train"]] == [
        {"premise": "A dog runs.", "hypothesis": "A dog moves.", "label": "entailment", "group": ""},
        {"premise": "A cat sits.", "hypothesis": "No cat sits.", "label": "other", "group": ""},
    ]
    assert len(records["test"]) == 30
    with pytest.raises(DataError, match=r"no record of heuristics.learnt has verdict='entailment'; set heuristics.ent"):
        open_records(use("heuristics", learnt=learnt, **COLUMNS | {"entailed": "entailment"}))
    with pytest.raises(ConfigError, match=r"has no column 'verdikt'; did you mean 'verdict'"):
        open_records(use("heuristics", learnt=learnt, **COLUMNS | {"label": "verdikt"}))
    with pytest.raises(DataError, match=r"heuristics.learnt=delimited has no train split"):
        open_records(use("heuristics", learnt=use("delimited", test=str(file)), **COLUMNS))

"""Labelled sets of TensorFlow Datasets, with small builders of our own that the library builds and loads."""

import numpy as np
import pytest

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import tfds

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

features = tensorflow_datasets.features


class Tiny:
    VERSION = tensorflow_datasets.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The first."}  # noqa: RUF012, the library's form
    FEATURES = SPLITS = None

    def _info(self):
        return tensorflow_datasets.core.DatasetInfo(builder=self, features=features.FeaturesDict(self.FEATURES))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(examples) for split, examples in self.SPLITS.items()}

    def _generate_examples(self, examples):
        yield from enumerate(examples)


class TinySentiment(Tiny, tensorflow_datasets.core.GeneratorBasedBuilder):
    FEATURES = {  # noqa: RUF012
        "sentence": features.Text(),
        "label": features.ClassLabel(names=["negative", "positive"]),
        "score": features.Tensor(shape=(), dtype=np.float32),
    }
    EXAMPLES = [{"sentence": f"é {i}", "label": i % 2, "score": i / 4} for i in range(7)]  # noqa: RUF012
    SPLITS = {  # noqa: RUF012
        "train": EXAMPLES,
        "validation": EXAMPLES[:3],
        "hidden": [{"sentence": "test", "label": -1, "score": 0.0}],
        "latin": [{"sentence": b"caf\xe9", "label": 0, "score": 0.0}],
    }


class TinyTags(Tiny, tensorflow_datasets.core.GeneratorBasedBuilder):
    FEATURES = {  # noqa: RUF012
        "tokens": features.Sequence(features.Text()),
        "ner": features.Sequence(features.ClassLabel(names=["O", "B-PER"])),
        "lemmas": features.Tensor(shape=(None,), dtype=np.str_),
    }
    EVE = {"tokens": ["Eve", "ran"], "ner": ["B-PER", "O"], "lemmas": ["Eve", "run"]}  # noqa: RUF012
    SPLITS = {"train": [EVE, {"tokens": [], "ner": [], "lemmas": []}]}  # noqa: RUF012


class TinyQuestions(Tiny, tensorflow_datasets.core.GeneratorBasedBuilder):
    FEATURES = {  # noqa: RUF012
        "id": features.Text(),
        "title": features.Text(),
        "context": features.Text(),
        "question": features.Text(),
        "is_impossible": features.Scalar(np.bool_),
        "answers": features.Sequence({"text": features.Text(), "answer_start": features.Scalar(np.int32)}),
    }
    SPLITS = {  # noqa: RUF012
        "train": [
            {
                "id": str(i),
                "title": "t",
                "context": "It's day.",
                "question": "What?",
                "is_impossible": i == 2,
                "answers": [{"text": "day", "answer_start": 5 + i}] * (2 - i),
            }
            for i in range(3)
        ]
    }


def build(tmp_path, name="tiny_sentiment", **options):
    return tfds.build(name=name, data_dir=str(tmp_path), **options)


def values(source, split="train"):
    return sorted((record.values for record in source.read(split)), key=str)


def test_labels_by_their_names(tmp_path):
    source = build(tmp_path)
    assert source.splits == ("train", "dev")
    expected = [
        {"sentence": f"é {i}", "label": ("negative", "positive")[i % 2], "score": pytest.approx(i / 4)}
        for i in range(7)
    ]
    assert sorted(values(source), key=lambda v: v["score"]) == expected
    assert len(source.read("dev")) == 3
    assert source.read("train")[0].where == "tiny_sentiment/train example 0"
    assert source.read("train") == source.read("train")


def test_splits(tmp_path):
    source = build(tmp_path, train="train[:4]", dev="train[4:]", test="validation")
    assert source.splits == ("train", "dev", "test")
    assert [len(source.read(split)) for split in source.splits] == [4, 3, 3]
    assert build(tmp_path, dev="").splits == ("train",)
    assert build(tmp_path, "tiny_tags").splits == ("train",)


def test_hidden_labels_and_text_that_is_not_utf_8(tmp_path):
    assert build(tmp_path, test="hidden").read("test")[0].values["label"] is None
    with pytest.raises(DataError, match=r"tiny_sentiment/latin example 0 is not UTF-8: byte 0xe9 of b'caf\\xe9'"):
        build(tmp_path, test="latin").read("test")


def test_words_and_tags(tmp_path):
    assert values(build(tmp_path, "tiny_tags")) == [
        TinyTags.EVE,
        {"tokens": [], "ner": [], "lemmas": []},
    ]


def test_questions_as_squad_gives_them(tmp_path, capsys):
    found = {v["id"]: v for v in values(build(tmp_path, "tiny_questions"))}
    assert found["0"] == {
        "id": "0",
        "question": "What?",
        "context": "It's day.",
        "answers": [{"text": "day", "start": 5}] * 2,
        "impossible": False,
    }
    assert found["1"]["answers"] == [{"text": "day", "start": 5}]
    assert (found["2"]["answers"], found["2"]["impossible"]) == ([], True)
    assert "tiny_questions/train: 1 answers were not where stated" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"the answer 'day' is not in its context at 6 but at 5"):
        build(tmp_path, "tiny_questions", misplaced="error").read("train")


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"tfds\.name is empty"):
        tfds.build()
    with pytest.raises(DataError, match=r"tfds\.name='tiny_sentimen' is no dataset"):
        build(tmp_path, "tiny_sentimen")
    with pytest.raises(DataError, match=r"tfds\.dev='dev' is no split of it \(tiny_sentiment has train, val"):
        build(tmp_path, dev="dev")
    with pytest.raises(ConfigError, match=r"tfds has no test split \(there are: train, dev\); set tfds\.test"):
        build(tmp_path).read("test")

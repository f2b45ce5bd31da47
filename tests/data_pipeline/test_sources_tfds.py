"""TensorFlow Datasets, with a small builder of our own that the library builds and loads."""

from pathlib import Path

import pytest

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, tfds

tensorflow_datasets = pytest.importorskip("tensorflow_datasets")

TEXTS = [f"Document {i} é.\nMore of it." for i in range(29)]


class TinyCorpus(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Two splits of made-up text."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The first."}  # noqa: RUF012, the library's form

    def _info(self):
        features = tensorflow_datasets.features.FeaturesDict(
            {"text": tensorflow_datasets.features.Text(), "title": tensorflow_datasets.features.Text()}
        )
        return tensorflow_datasets.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TEXTS), "test": self._generate_examples(TEXTS[:3])}

    def _generate_examples(self, texts):
        yield "empty", {"text": " ", "title": "empty"}
        for i, text in enumerate(texts):
            marked = f"\n_START_ARTICLE_\n{text}\n_START_PARAGRAPH_\nEnd_NEWLINE_of it." if i == 0 else text
            yield str(i), {"text": marked, "title": f"Title {i}"}


def build(tmp_path: Path, **options):
    return tfds.build(tmp_path, **{"name": "tiny_corpus", "data_dir": str(tmp_path), **options})


def read(source) -> list[Document]:
    return [document for part in source.parts() for document in part.read()]


def test_reads_a_dataset(tmp_path):
    source = build(tmp_path, id_field="title")
    documents = read(source)
    assert read(source) == documents  # the same order every time
    texts = {f"Title {i}": text for i, text in enumerate(TEXTS)}
    texts["Title 0"] = f"{TEXTS[0]}\nEnd\nof it."
    assert {document.id: document.text for document in documents} == texts
    assert "tiny_corpus/1.0.0" in source.about
    assert source.size > 0


def test_splits(tmp_path):
    assert len(read(build(tmp_path, split="test"))) == 3
    some = read(build(tmp_path, split="train[:50%]"))
    assert len(some) in (14, 15)
    assert some[0].id.startswith("tiny_corpus/train[:50%]@")


def test_what_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"tfds\.name is empty"):
        tfds.build(tmp_path)
    with pytest.raises(DataError, match=r"tfds\.name='tiny_corpse' is no dataset"):
        build(tmp_path, name="tiny_corpse")
    with pytest.raises(DataError, match=r"tfds\.split='dev': .*tiny_corpus has t"):
        build(tmp_path, split="dev")
    with pytest.raises(DataError, match=r"has no feature 'body' \(text, title\); set tfds\.text_field"):
        build(tmp_path, text_field="body")


def test_a_dataset_that_the_library_ships_can_be_opened(tmp_path):
    assert tensorflow_datasets.builder("lm1b", data_dir=tmp_path).url_infos  # without fetching anything


def test_a_package_that_a_dataset_lacks_is_one_line(tmp_path, monkeypatch):
    def lacks(self):
        raise ModuleNotFoundError("No module named 'mwparserfromhell'")

    monkeypatch.setattr(TinyCorpus, "download_and_prepare", lacks)
    with pytest.raises(DataError, match="tiny_corpus cannot be fetched and built: No module named 'mwparserfromhell'"):
        build(tmp_path)

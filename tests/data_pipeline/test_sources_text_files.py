"""Text files: documents whole and in order whatever the block size, and one clear line for bad files."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, _files, text_files


def read(source) -> list[Document]:
    return [document for part in source.parts() for document in part.read()]


def build(paths, **options):
    return text_files.build(Path("unused"), paths=paths, **options)


def test_blank_lines_end_documents(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone\ntwo\n\n\n  \nthree é\r\n\r\nfour\n \t \nfive".encode())
    documents = read(build(str(file)))
    assert [document.text for document in documents] == ["one\ntwo", "three é", "four", "five"]
    offsets = [int(document.id.removeprefix(f"{file}@")) for document in documents]
    whole = file.read_bytes()
    assert offsets[0] == 3
    assert [whole[offset : offset + 4] for offset in offsets[1:]] == [b"thre", b"four", b"five"]


def test_one_document_a_file(tmp_path):
    for name, text in (("b.txt", "second\n\nstill second"), ("a.txt", "first"), ("c.md", "no"), ("empty.txt", " \n")):
        (tmp_path / name).write_text(text)
    documents = read(build(str(tmp_path), documents="file"))
    assert documents == [
        Document(str(tmp_path / "a.txt"), "first"),
        Document(str(tmp_path / "b.txt"), "second\n\nstill second"),
    ]


def test_patterns_and_folders(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    for name in ("x/1.txt", "x/y/2.txt", "x/y/3.text"):
        (tmp_path / name).write_text(name)
    found = {
        f"{tmp_path}/x/*.txt": ["x/1.txt"],
        f"{tmp_path}/**/*.txt": ["x/1.txt", "x/y/2.txt"],
        f"{tmp_path}/x/*/*": ["x/y/2.txt", "x/y/3.text"],
        str(tmp_path): ["x/1.txt", "x/y/2.txt"],
    }
    for pattern, texts in found.items():
        assert [document.text for document in read(build(pattern))] == texts
    both = (f"{tmp_path}/x/y/3.text", f"{tmp_path}/x/1.txt")
    assert [document.text for document in read(build(both))] == ["x/y/3.text", "x/1.txt"]


@given(
    documents=st.lists(st.text(alphabet="abé \n", min_size=1).filter(str.strip), min_size=1, max_size=9),
    block=st.integers(1, 30),
)
def test_documents_do_not_depend_on_blocks(tmp_path_factory, documents, block):
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text("\n\n".join(documents))
    with pytest.MonkeyPatch.context() as patch:
        whole = read(build(str(file)))
        patch.setattr(_files, "PART_BYTES", block)
        assert read(build(str(file))) == whole
        assert sum(part.size for part in build(str(file)).parts()) == build(str(file)).size


@pytest.mark.parametrize("mode", ["blank_line", "file"])
@pytest.mark.parametrize("unit", ["word ", "line\n", "xé中😀"])
def test_a_long_document_is_cut_and_stays_in_order(tmp_path, monkeypatch, mode, unit):
    monkeypatch.setattr(_files, "PART_BYTES", 64)
    monkeypatch.setattr(_files, "LONGEST_DOCUMENT", 256)
    file = tmp_path / "long.txt"
    file.write_text(unit * 500)
    documents = read(build(str(file), documents=mode))
    assert "".join("".join(document.text for document in documents).split()) == unit.strip() * 500
    assert max(len(document.text.encode()) for document in documents) <= 256 + 64
    if unit[-1].isspace():
        assert all(document.text.endswith(unit.strip()) for document in documents)


@pytest.mark.parametrize("mode", ["blank_line", "file"])
def test_bad_bytes_are_named_with_their_place(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(_files, "PART_BYTES", 16)
    file = tmp_path / "bad.txt"
    good = b"fine\n\n" * 20
    file.write_bytes(good + b"caf\xe9\n\n")
    message = rf"{re.escape(str(file))} is not UTF-8: byte 0xe9 at offset {len(good) + 3}"
    with pytest.raises(DataError, match=message):
        read(build(str(file), documents=mode))
    file.write_bytes(good + b"\x7fELF\0\0")
    with pytest.raises(DataError, match=rf"bad\.txt is a binary file: there is a zero byte at offset {len(good) + 4}"):
        read(build(str(file), documents=mode))


def test_nothing_to_read(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").touch()
    messages = {
        "": "text_files.paths is empty; give a file",
        f"{tmp_path}/none.txt": "none.txt' does not exist",
        f"{tmp_path}/*.text": r"\*\.text' matches no file",
        f"{tmp_path}/folder": r"is a folder without a file named \*\.txt",
        f"{tmp_path}/empty.txt": "empty.txt is empty; give files that hold text",
    }
    for path, message in messages.items():
        with pytest.raises(DataError, match=message):
            build(path)


def test_a_changed_file_is_another_input(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one")
    before = build(str(file)).inputs
    assert build(str(file)).inputs == before
    file.write_text("four")
    assert build(str(file)).inputs != before

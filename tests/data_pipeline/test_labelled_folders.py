"""Texts by their class, from folders and from archives, hostile ones too, which are never unpacked to disk."""

import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data_pipeline import hostile

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import _files, delimited, folders

FILES = {
    "set/README.txt": "Not a review.",
    "set/neg/1.txt": "Bad.\n",
    "set/neg/2.txt": "Very bad.\nReally é.",
    "set/pos/1.txt": "Good.",
    "set/pos/1.md": "Not read.",
    "set/pos/.hidden.txt": "Not read.",
    "__MACOSX/set/pos/1.txt": "Not read.",
}
TEXTS = [("Bad.", "neg"), ("Very bad.\nReally é.", "neg"), ("Good.", "pos")]
FORMS = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"]


def pack(path, files):
    """An archive of files by name, of the kind that its own name says."""
    files = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        packing = {".tar": "", ".tgz": "gz"}.get(path.suffix, path.suffix[1:])
        with tarfile.open(path, f"w:{packing}") as archive:
            for name, data in reversed(files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def read(path, **options):
    records = folders.build(train=str(path), **options).read("train")
    return [(record.values["text"], record.values["label"]) for record in records]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("folders")


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_a_class(tmp_path, form):
    for name in list(FILES)[:5]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES[name])
    archive = pack(tmp_path / f"a{form}", FILES)
    before = sorted(tmp_path.rglob("*"))
    assert read(tmp_path / "set", classes=("neg", "pos")) == TEXTS
    assert read(archive, classes=("neg", "pos")) == TEXTS
    assert read(f"{archive}/set", classes=("pos", "neg")) == TEXTS
    assert read(f"{archive}/set/neg") == TEXTS[:2]
    assert read(f"{archive}/set/*/1.txt") == [TEXTS[0], TEXTS[2]]
    assert read(archive)[-1] == ("Not a review.", "set") or read(archive)[0] == ("Not a review.", "set")
    assert folders.build(train=str(archive), classes=("pos",)).read("train")[0].where == f"{archive}/set/pos/1.txt"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", ["", *FORMS])
def test_a_file_a_class(tmp_path, form):
    lines = {"set/a.neg": "Bad. \n\nWorse.\n", "set/a.pos": "Good.\u2028Really.\n", "set/README": "Read me."}
    if form:
        path = pack(tmp_path / f"a{form}", lines)
    else:
        path = tmp_path
        (tmp_path / "set").mkdir()
        for name, text in lines.items():
            (tmp_path / name).write_text(text)
    expected = [("Bad.", "negative"), ("Worse.", "negative"), ("Good.\u2028Really.", "positive")]
    assert read(path, form="lines", classes=("negative=*.neg", "positive=*.pos")) == expected
    source = folders.build(train=str(path), form="lines", classes=("negative=*.neg",))
    assert [record.where for record in source.read("train")] == [f"{path}/set/a.neg:1", f"{path}/set/a.neg:3"]


def test_a_file_a_class_by_its_name(tmp_path):
    for name in ("sport.txt", "art.txt", "list.csv"):
        (tmp_path / name).write_text(f"A text of {name}.\n")
    assert [label for _, label in read(tmp_path, form="lines")] == ["art", "sport"]
    assert [label for _, label in read(tmp_path, form="lines", classes=("sport",))] == ["sport"]


NAMES = st.text("abc.-é ", min_size=1, max_size=5).filter(lambda name: name[0] != "." and name.strip() == name)


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, hostile.texts, min_size=1, max_size=3), min_size=1, max_size=3))
def test_archives_come_back(folder, texts):
    files = {f"{label}/{name}.txt": text.replace("\0", "") for label in texts for name, text in texts[label].items()}
    expected = [(files[name].strip().removeprefix("\ufeff").strip(), name.split("/")[0]) for name in sorted(files)]
    for form in (".zip", ".tar.gz"):
        found = read(pack(folder / f"a{form}", files))
        assert [(text.removeprefix("\ufeff").strip(), label) for text, label in found] == expected


def test_tables_within_archives(tmp_path):
    archive = pack(tmp_path / "a.zip", {"set/train.tsv": "a\tb\n1\t2\n", "set/test.tsv": "a\tb\n3\t4\n"})
    source = delimited.build(train=f"{archive}/set/train.tsv", test=f"{archive}/set/test.tsv")
    assert [source.read(split)[0].values["a"] for split in source.splits] == ["1", "3"]
    assert source.read("test")[0].where == f"{archive}/set/test.tsv:2"


def test_a_folder_that_is_named_like_an_archive(tmp_path):
    (tmp_path / "a.zip").mkdir()
    (tmp_path / "a.zip" / "train.tsv").write_text("a\n1\n")
    assert delimited.build(train=f"{tmp_path}/a.zip/train.tsv").read("train")[0].values == {"a": "1"}


def test_names_that_lead_out_of_an_archive_are_names(tmp_path):
    files = {"../../pos/1.txt": "Up.", "/etc/pos/2.txt": "Root."}
    inner = tmp_path / "x" / "y"
    inner.mkdir(parents=True)
    for form in (".zip", ".tar"):
        archive = pack(inner / f"a{form}", files)
        assert sorted(read(archive, classes=("pos",))) == [("Root.", "pos"), ("Up.", "pos")]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.tar", "a.zip", "x", "y"]


def test_links_and_devices_are_no_texts(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind in (("a/1.txt", tarfile.SYMTYPE), ("a/2.txt", tarfile.LNKTYPE), ("a/3.txt", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    with pytest.raises(DataError, match=r"a\.tar/: the archive has no such file, nor one there named \*\.txt"):
        read(tmp_path / "a.tar")


@pytest.mark.parametrize("form", FORMS)
def test_archives_that_unpack_to_too_much(tmp_path, monkeypatch, form):
    archive = pack(tmp_path / f"a{form}", {"pos/1.txt": b"0" * 3_000_000, "pos/2.txt": b"0" * 3_000_000, "x": b""})
    monkeypatch.setattr(_files, "LARGEST_FILE", 2_000_000)
    with pytest.raises(DataError, match=r"a\.\w.*/pos/[12]\.txt has more than 1 MiB; cut it"):
        read(archive)
    monkeypatch.setattr(_files, "LARGEST_FILE", 4_000_000)
    monkeypatch.setattr(_files, "LARGEST_ARCHIVE", 5_000_000)
    with pytest.raises(DataError, match="holds more than 4 MiB; unpack what is needed"):
        read(archive)
    monkeypatch.setattr(_files, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="has more than 2 members; unpack what is needed"):
        read(pack(tmp_path / f"b{form}", {f"pos/{i}.txt": "x" for i in range(3)}))


@pytest.mark.parametrize("form", FORMS[1:])
def test_a_name_in_a_header_that_unpacks_to_too_much(tmp_path, monkeypatch, form):
    archive = pack(tmp_path / f"a{form}", {"pos/" + "x" * 6_000_000: b""})  # no member is read
    monkeypatch.setattr(_files, "LARGEST_ARCHIVE", 5_000_000)
    with pytest.raises(DataError, match="holds more than 4 MiB; unpack what is needed"):
        read(archive)


def test_a_packed_file_that_unpacks_to_too_much(tmp_path, monkeypatch):
    import gzip

    monkeypatch.setattr(_files, "LARGEST_FILE", 2_000_000)
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"a" * 3_000_000))
    with pytest.raises(DataError, match=r"a\.tsv\.gz has more than 1 MiB"):
        delimited.build(train=str(tmp_path / "a.tsv.gz")).read("train")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("part", [0.2, 0.6, 0.97])
def test_cut_and_damaged_archives(tmp_path, form, part):
    import random

    noise = random.Random(0).randbytes(30_000).hex()
    archive = pack(tmp_path / f"a{form}", {f"pos/{i}.txt": noise for i in range(5)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(len(whole) * part)])
    if form != ".tar" or part < 0.9:  # what ends a plain .tar is zeros alone
        with pytest.raises(DataError, match=r"a\.\w.* cannot be (unpacked|read): .*; fetch it again"):
            read(archive)
    archive.write_bytes(b"no archive at all, whatever its name says" * 20)
    with pytest.raises(DataError, match=r"cannot be unpacked: .*; fetch it again"):
        read(archive)


def test_an_encrypted_archive(tmp_path):
    archive = pack(tmp_path / "a.zip", {"pos/1.txt": "x"})
    data = bytearray(archive.read_bytes())
    for sign, flag in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(sign) + flag] |= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip cannot be unpacked: .*encrypted"):
        read(archive)


def test_what_is_not_there(tmp_path):
    archive = pack(tmp_path / "a.zip", FILES)
    with pytest.raises(DataError, match=r"folders\.train=.*a\.zip/set/train: the archive has no such file"):
        read(f"{archive}/set/train")
    with pytest.raises(DataError, match=r"folders\.train='.*b\.zip' does not exist"):
        read(tmp_path / "b.zip")
    with pytest.raises(DataError, match=r"no text is of the class 'neutral' \(there are: neg, pos\)"):
        read(archive, classes=("neg", "pos", "neutral"))
    with pytest.raises(ConfigError, match="has a pattern, which is for form='lines'"):
        read(archive, classes=("neg=*.neg",))
    with pytest.raises(ConfigError, match="names a class twice"):
        read(archive, form="lines", classes=("neg=*.neg", "neg=*.pos"))
    with pytest.raises(DataError, match=r"a\.zip/set/bad/1\.txt is not UTF-8: byte 0xff at offset 1"):
        read(pack(tmp_path / "a.zip", {"set/bad/1.txt": b"x\xff"}))

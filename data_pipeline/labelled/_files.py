"""Finding the files of labelled sets, within archives too, and reading them whole.

A path may continue inside a .zip or .tar archive: "reviews.zip/reviews/pos". Members are read in memory;
nothing is ever extracted, and how much an archive may hold is bounded. An archive without a path inside
stands for all its members.
"""

import bz2
import contextlib
import fnmatch
import gzip
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from configuration.variants import ConfigError
from data_pipeline.errors import DataError
from data_pipeline.labelled import SPLITS, Labelled, Record
from data_pipeline.preparing.encoding import whole
from data_pipeline.sources import _files
from data_pipeline.sources._files import Paths

if TYPE_CHECKING:
    from etils import epath

LARGEST_FILE = 1 << 30  # bytes, unpacked; a labelled set is held in memory
LARGEST_ARCHIVE = 1 << 32  # bytes, unpacked; of a .zip those of the members that are read
MOST_MEMBERS = 2_000_000
PACKED = ("", ".gz", ".zst")
_ARCHIVE = re.compile(r"(?s)(.+?\.(?:zip|tar|tgz|tar\.gz|tar\.bz2|tar\.xz))(?:/(.*))?")
_UNPACKED_BY: dict[str, Callable[[Any], Any]] = {
    ".tar": contextlib.nullcontext,
    ".gz": gzip.open,
    ".tgz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, NotImplementedError, ValueError),  # RuntimeError: a password
)


class File(NamedTuple):
    """A file's name, its folders included, and its bytes."""

    name: str
    data: bytes


def labelled(
    kind: str,
    splits: dict[str, Paths],
    endings: tuple[str, ...],
    records: Callable[[Iterator[File]], Iterator[Record]],
) -> Labelled:
    """A labelled source of files: of the splits for which a path is given.

    Raises:
      DataError: no path is given, or one where there is nothing.
    """
    given = {split: paths for split, paths in splits.items() if paths}
    if not given:
        raise DataError(f"{kind}.{SPLITS[0]} is empty; give a file, a folder or a pattern")
    suffixes = tuple(ending + packed for ending in endings for packed in PACKED)
    for split, paths in given.items():
        _find(f"{kind}.{split}", paths, suffixes)

    def read(split: str) -> list[Record]:
        if split not in given:
            raise ConfigError(f"{kind} has no {split} split (there are: {', '.join(given)}); set {kind}.{split}")
        return list(records(_read(f"{kind}.{split}", given[split], suffixes)))

    return Labelled(read, tuple(split for split in SPLITS if split in given))


def decode(file: File, encoding: str) -> str:
    """A file's text, strictly.

    Raises:
      ConfigError: there is no such encoding.
      DataError: a binary file, or one in another encoding; names the file and the byte.
    """
    if encoding.lower() in ("utf-8", "utf8"):
        return _files.decode(file.data, file.name, 0)
    try:
        return file.data.decode(encoding)
    except LookupError:
        raise ConfigError(f"encoding={encoding!r} is unknown; 'utf-8', 'latin-1' and 'gb18030' are some") from None
    except UnicodeError as error:
        raise DataError(f"{file.name} is not {encoding}: {error}; set encoding to what it is") from None


def lines(file: File, encoding: str) -> Iterator[tuple[str, str]]:
    """The lines of a text that have something in them, each after where it stands; only line feeds end one."""
    for number, line in enumerate(decode(file, encoding).split("\n"), 1):
        if line.strip():
            yield f"{file.name}:{number}", line.removesuffix("\r")


def without_surrogates(value: Any) -> Any:
    """A value of a JSON file without halves of surrogate pairs, which no encoding of text can hold."""
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {whole(name): without_surrogates(item) for name, item in value.items()}
    return value


class _Place(NamedTuple):
    file: "epath.Path"
    inside: str | None  # within an archive


def _find(option: str, paths: Paths, suffixes: tuple[str, ...]) -> list[_Place]:
    """Files, and archives with the path within them."""
    paths = (paths,) if isinstance(paths, str) else paths
    places = []
    for path in paths:
        archive = _ARCHIVE.fullmatch(path)
        if archive is None or os.path.isdir(os.path.expanduser(archive[1])):
            places += [_Place(file, None) for file in _files.find(option, path, suffixes)]
        else:
            places += [_Place(file, archive[2] or "") for file in _files.find(option, archive[1], suffixes)]
    return places


def _read(option: str, paths: Paths, suffixes: tuple[str, ...]) -> Iterator[File]:
    for place in _find(option, paths, suffixes):
        name = str(place.file)
        if place.inside is None:
            with place.file.open("rb") as file:
                yield File(name, _unpack(name, file))
            continue
        found = False
        for member in _members(name, place.file, _wanted(place.inside, suffixes)):
            found = True
            yield member
        if not found:
            raise DataError(
                f"{option}={name}/{place.inside}: the archive has no such file, nor one there named"
                f" *{' or *'.join(suffixes)}; check the path"
            )


def _wanted(inside: str, suffixes: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a member is meant by a path within its archive: by its name, its folder or a pattern."""
    inside = inside.strip("/")
    below = f"{inside}/" if inside else ""

    def wanted(member: str) -> bool:
        *folders, name = member.split("/")
        if name.startswith(".") or "__MACOSX" in folders:
            return False  # what a desktop leaves in archives
        return (
            member == inside
            or (member.startswith(below) and name.endswith(suffixes))
            or (any(sign in inside for sign in "*?[") and fnmatch.fnmatchcase(member, inside))
        )

    return wanted


def _members(name: str, path: "epath.Path", wanted: Callable[[str], bool]) -> Iterator[File]:
    """The members that are wanted, in the order of their names."""
    try:
        with path.open("rb") as file:
            found = _zip_members(name, file, wanted) if name.endswith(".zip") else _tar_members(name, file, wanted)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{name} cannot be unpacked: {error}; fetch it again") from None
    for member in sorted(found):
        yield File(f"{name}/{member}", found[member])


def _zip_members(name: str, file: IO[bytes], wanted: Callable[[str], bool]) -> dict[str, bytes]:
    members: dict[str, bytes] = {}
    size = 0
    with zipfile.ZipFile(file) as archive:
        _check_count(name, len(archive.infolist()))
        for member in archive.infolist():
            if not member.is_dir() and wanted(member.filename):
                with archive.open(member) as opened:
                    members[member.filename] = data = _unpack(f"{name}/{member.filename}", opened)
                size += len(data)
                _check_size(name, size)
    return members


def _tar_members(name: str, file: IO[bytes], wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """Read from its start to its end once; links and devices are no text."""
    members: dict[str, bytes] = {}
    unpack = next(by for suffix, by in _UNPACKED_BY.items() if name.endswith(suffix))
    with unpack(file) as unpacked, tarfile.open(fileobj=cast(Any, _Metered(name, unpacked)), mode="r|") as archive:
        for count, member in enumerate(archive, 1):
            _check_count(name, count)
            path = member.name.removeprefix("./")
            opened = archive.extractfile(member) if member.isreg() and wanted(path) else None
            if opened is not None:
                members[path] = _unpack(f"{name}/{path}", opened)
    return members


class _Metered:
    """The bytes of an unpacked archive, as long as they are not too many: names in its headers can be long, too."""

    def __init__(self, archive: str, file: IO[bytes]):
        self._archive, self._file, self._read = archive, file, 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._read += len(data)
        _check_size(self._archive, self._read)
        return data


def _check_count(archive: str, count: int) -> None:
    if count > MOST_MEMBERS:
        raise DataError(f"{archive} has more than {MOST_MEMBERS:,} members; unpack what is needed")


def _check_size(archive: str, size: int) -> None:
    if size > LARGEST_ARCHIVE:
        raise DataError(f"{archive} holds more than {LARGEST_ARCHIVE >> 20} MiB; unpack what is needed")


def _unpack(name: str, packed: IO[bytes]) -> bytes:
    """All bytes of an open file, unpacked where its name says so."""
    try:
        with contextlib.ExitStack() as opened:
            data = opened.enter_context(_files.unpacked(name, packed)).read(LARGEST_FILE + 1)
    except _BROKEN as error:
        raise DataError(f"{name} cannot be read: {error}; fetch it again") from None
    if len(data) > LARGEST_FILE:
        raise DataError(f"{name} has more than {LARGEST_FILE >> 20} MiB; cut it into several files")
    return data

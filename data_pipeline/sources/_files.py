"""Finding files and reading them in blocks that end where a record does."""

import contextlib
import glob
import gzip
import os
import re
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from data_pipeline.errors import DataError
from data_pipeline.sources import LONGEST_DOCUMENT, PART_BYTES

if TYPE_CHECKING:
    from etils import epath

Paths = str | tuple[str, ...]


def find(option: str, paths: Paths, suffixes: tuple[str, ...]) -> list["epath.Path"]:
    """The files of paths, globs and folders, local or remote, in the order of their names.

    Args:
      option: the option the paths came from, for messages.
      suffixes: the names' ends that are read of a folder.

    Raises:
      DataError: no path, a path where there is nothing, or files that are all empty.
    """
    paths = (paths,) if isinstance(paths, str) else paths
    if not any(paths):
        raise DataError(f"{option} is empty; give a file, a folder or a pattern such as 'corpus/*{suffixes[0]}'")
    files = [file for path in paths for file in _matches(option, path, suffixes)]
    if not any(file.stat().length for file in files):
        raise DataError(f"{option}={', '.join(paths)!r}: {_count(files)} empty; give files that hold text")
    return files


def _matches(option: str, path: str, suffixes: tuple[str, ...]) -> list["epath.Path"]:
    from etils import epath

    try:
        place = epath.Path(path).expanduser()
    except KeyError as error:
        raise DataError(f"{option}={path!r}: no files are read by {error.args[0]}; give a local copy") from None
    if glob.has_magic(path):
        found, wanted = _glob(str(place)), "matches no file"
    elif place.is_dir():
        below = "**/*" if "://" not in path else "*"  # remote folders are not searched through
        found = [name for name in _glob(f"{place}/{below}") if name.endswith(suffixes)]
        wanted = f"is a folder without a file named *{' or *'.join(suffixes)}"
    else:
        found, wanted = [str(place)] if place.exists() else [], "does not exist"
    if not found:
        raise DataError(f"{option}={path!r} {wanted}; check the path")
    return [epath.Path(name) for name in sorted(found)]


def _glob(pattern: str) -> list[str]:
    """The files that match; `**` is for local paths only."""
    from etils import epath

    if "://" not in pattern:
        return [name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name)]
    folder, pattern = re.split(r"(?<=/)(?=[^/]*[*?\[])", pattern, maxsplit=1)
    return [str(file) for file in epath.Path(folder).glob(pattern) if file.is_file()]


def _count(files: list["epath.Path"]) -> str:
    return f"{files[0]} is" if len(files) == 1 else f"all {len(files)} files are"


def inputs(files: list["epath.Path"]) -> tuple[tuple[str, int, float], ...]:
    """Name, size in bytes and time of change of each file."""
    stats = [(file, file.stat()) for file in files]
    return tuple((str(file), stat.length, float(stat.mtime or 0)) for file, stat in stats)


def blocks(file: IO[bytes], last_end: Callable[[bytes], int], *, cut_long: bool) -> Iterator[tuple[int, bytes]]:
    """A file in blocks of about PART_BYTES that end where a record does, each with its offset.

    Args:
      last_end: where the last whole record of a block ends; 0 or less where none does.
      cut_long: a record above LONGEST_DOCUMENT bytes is cut, at a line's end or a space if it has one.
    """
    offset, rest = 0, b""
    while data := file.read(PART_BYTES):
        block = rest + data
        end = last_end(block)
        if end <= 0 and cut_long and len(block) >= LONGEST_DOCUMENT:
            end = _cut(block)
        if end <= 0:
            rest = block
            continue
        yield offset, block[:end]
        offset += end
        rest = block[end:]
    if rest:
        yield offset, rest


@contextlib.contextmanager
def unpacked(name: str, file: Any) -> Iterator[Any]:
    """An open file's bytes, unpacked where its name ends with .gz or .zst."""
    if name.endswith(".gz"):
        with gzip.open(file) as opened:
            yield opened
    elif name.endswith(".zst"):
        import pyarrow

        with pyarrow.input_stream(file, compression="zstd") as opened:
            yield opened
    else:
        yield file


def _cut(block: bytes) -> int:
    """An offset where a long text can be cut: after a line's end, else a space, else a whole character."""
    end = block.rfind(b"\n") + 1 or block.rfind(b" ") + 1
    if end:
        return end
    end = len(block)
    while end > len(block) - 4 and block[end - 1] & 0xC0 == 0x80:  # a byte within a character
        end -= 1
    return end - 1 if block[end - 1] >= 0xC0 else end


def decode(data: bytes, file: str, offset: int) -> str:
    """UTF-8 to text.

    Raises:
      DataError: a binary file or invalid UTF-8; names the file and the byte.
    """
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataError(f"{file} is a binary file: there is a zero byte at offset {offset + zero}; give text in UTF-8")
    try:
        return data.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise DataError(
            f"{file} is not UTF-8: byte 0x{byte:02x} at offset {offset + error.start}; convert it, e.g. with iconv"
        ) from None

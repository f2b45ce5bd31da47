"""Stores on remote paths, such as gs://bucket/stores/wikipedia: files come to a local cache and are read there.

A batch draws its rows from anywhere in the store, so every host needs all of it before long. Opening
fetches the small files; the shards follow in the background, several at a time, and a reader
waits only for the shard that it needs. A file gets its name in the cache when it is complete and its checksum is right.
The cache keeps to a limit: stores that were not opened for longest go first, and one that is larger
than the limit is refused before anything of it is fetched.

The remote path may be anything that fsspec has a package for.
"""

import collections
import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configuration.files import write_bytes
from data_pipeline.errors import DataError

_FETCHERS = 4  # files at once
_BLOCK = 8 << 20  # bytes read at a time
_SPARE = 0.1  # of what is free, and of what the cache could free, stays so where no limit is given
_UNFINISHED = ".fetching"


def is_remote(path: str | os.PathLike[str]) -> bool:
    return "://" in os.fspath(path)


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept: XDG_CACHE_HOME/bert_jax."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bert_jax"


def read(url: str, name: str, most: int) -> bytes:
    """The contents of a small file of a remote folder.

    Raises:
      FileNotFoundError: there is none.
      DataError: the path cannot be reached at all, or the file has more than `most` bytes.
    """
    files, root = connect(url)
    contents = files.cat_file(f"{root}/{name}", start=0, end=most + 1)
    if len(contents) > most:
        raise DataError(f"{url}/{name} is larger than {most >> 20} MB: it is not what a store has by that name")
    return contents


def connect(url: str) -> tuple[Any, str]:
    """The file system of fsspec that a path, local or remote, is on, and the path within it.

    Raises:
      DataError: there is no such protocol, or no package for it.
    """
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # no package for it, or no such protocol
        raise DataError(f"{url} cannot be read: {error}") from None
    return files, root.rstrip("/")


class Cache:
    """The local copy of one remote store.

    Args:
      url: the store's folder.
      manifest: the bytes of its `manifest.json`.
      fingerprint: the store's, which names the folder in the cache.
      files: size in bytes and SHA-256 of every other file, by name.
      limit: bytes that the stores in the cache may have together; by default nine tenths of what
        is free or held by the cache.

    Raises:
      DataError: the store is larger than the limit.
    """

    def __init__(
        self,
        url: str,
        manifest: bytes,
        fingerprint: str,
        files: Mapping[str, tuple[int, str]],
        limit: int | None = None,
    ):
        self.url = url.rstrip("/")
        self.folder = cache_folder() / "stores" / fingerprint[:32]
        self._files = files
        self._lock = threading.Lock()
        self._fetched: dict[str, concurrent.futures.Future[None]] = {}  # or being fetched
        self._make_room(limit)
        self.folder.mkdir(parents=True, exist_ok=True)
        os.utime(self.folder)  # opened now
        for left in self.folder.rglob(f"*{_UNFINISHED}"):
            if not _alive(left):
                left.unlink(missing_ok=True)
        write_bytes(self.folder / "manifest.json", manifest)

    def start(self, names: list[str]) -> None:
        """Fetches files in the background, in this order, on threads that end with the process."""
        waiting = collections.deque(names)
        for _ in range(min(_FETCHERS, len(names))):
            threading.Thread(target=self._work, args=(waiting,), daemon=True).start()

    def wait(self, name: str) -> Path:
        """The local file, once it is here; fetched at once if it is not yet on its way.

        Raises:
          DataError: it is missing, cut or damaged, or cannot be fetched.
        """
        future, mine = self._claim(name)
        if mine:
            self._run(name, future)
        future.result()
        return self.folder / name

    def _work(self, waiting: collections.deque[str]) -> None:
        with contextlib.suppress(IndexError):
            while True:
                name = waiting.popleft()
                future, mine = self._claim(name)
                if mine:
                    self._run(name, future)

    def _claim(self, name: str) -> tuple["concurrent.futures.Future[None]", bool]:
        """What tells that a file is here, and whether the caller is to fetch it."""
        with self._lock:
            mine = name not in self._fetched
            return self._fetched.setdefault(name, concurrent.futures.Future()), mine

    def _run(self, name: str, future: "concurrent.futures.Future[None]") -> None:
        try:
            self._fetch(name)
        except Exception as error:
            with self._lock:
                del self._fetched[name]  # whoever asks again tries again
            future.set_exception(error)
        else:
            future.set_result(None)

    def _is_here(self, name: str) -> bool:
        path = self.folder / name
        return path.exists() and path.stat().st_size == self._files[name][0]

    def _is_intact(self, name: str) -> bool:
        with open(self.folder / name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self._files[name][1]

    def _fetch(self, name: str) -> None:
        if self._is_here(name):
            if self._is_intact(name):
                return
            print(f"{self.folder / name} in the cache is damaged; it is fetched again", file=sys.stderr)
            (self.folder / name).unlink(missing_ok=True)
        path, remedy = self.folder / name, "restore the store from a copy or prepare it again"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.{uuid.uuid4().hex}{_UNFINISHED}")
        size, digest = 0, hashlib.sha256()
        try:
            files, root = connect(self.url)
            with files.open(f"{root}/{name}", "rb") as remote, open(part, "wb") as local:
                while block := remote.read(_BLOCK):
                    local.write(block)
                    digest.update(block)
                    size += len(block)
            expected, sha256 = self._files[name]
            if size != expected:
                raise DataError(f"{self.url}/{name} has {size} bytes where the manifest says {expected}; {remedy}")
            if digest.hexdigest() != sha256:
                raise DataError(f"{self.url}/{name} is damaged: its checksum differs from the manifest's; {remedy}")
            with open(part, "rb") as local:
                os.fsync(local.fileno())
            os.replace(part, path)
        except FileNotFoundError:
            raise DataError(f"{self.url}/{name} is missing; {remedy}") from None
        except OSError as error:
            raise DataError(f"{self.url}/{name} cannot be fetched to {self.folder}: {error}") from None
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, limit: int | None) -> None:
        """Removes the stores that were not opened for longest until this one fits."""
        home = self.folder.parent
        home.mkdir(parents=True, exist_ok=True)
        others = {f: _size(f) for f in home.iterdir() if f.is_dir() and f != self.folder}
        wanted = sum(size for size, _ in self._files.values())
        held = sum(others.values())
        if limit is None:
            limit = int((1 - _SPARE) * (shutil.disk_usage(home).free + held + _size(self.folder)))
        if wanted > limit:
            raise DataError(
                f"{self.url} has {wanted / 1e9:.3g} GB, more than the {limit / 1e9:.3g} GB that the cache"
                f" {home} may hold; raise data.cache_gb, free some space, or name another disk in XDG_CACHE_HOME"
            )
        for folder in sorted(others, key=lambda f: f.stat().st_mtime):
            if wanted + held <= limit:
                break
            shutil.rmtree(folder, ignore_errors=True)
            held -= others[folder]


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process works there too
            total += path.stat().st_size if path.is_file() else 0
    return total


def _alive(part: Path) -> bool:
    """Whether the process that writes an unfinished file still runs."""
    try:
        os.kill(int(part.name.split(".")[-3]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, IndexError):
        return True
    return True

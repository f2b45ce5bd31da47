"""A file of vectors that is written in chunks, survives `kill -9`, and gets its name when complete."""

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from configuration import cli, locks
from configuration.files import named
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

ENDINGS = (".npy", ".parquet")
COLUMN = "vector"
_ROWS = 16384  # of a Parquet row group


class VectorFile:
    """float32 [n, D] on its way to a .npy or .parquet file.

    Until it is complete it is a .npy file under a hidden name in the same folder, with a note of how many rows are
    written. Rows are synced to disk before the note.

    Attributes:
      done: rows that are there.
    """

    def __init__(self, output: Path, rows: int, width: int, facts: Mapping[str, Any]):
        """`facts`: all that the vectors depend on; what an earlier run with others left is thrown away."""
        self.output, self.rows, self.width = output, rows, width
        self._partial = output.with_name(f".{output.name}.partial")
        self._note = output.with_name(f".{output.name}.progress.json")
        self._facts = json.loads(json.dumps(facts))
        self._header = _header(rows, width)
        self.done = self._left_by_an_earlier_run()
        self._file: IO[bytes] = self._partial.open("r+b" if self.done else "wb")
        if not self.done:
            self._reserve()

    def _left_by_an_earlier_run(self) -> int:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            whole = self._partial.stat().st_size == len(self._header) + 4 * self.rows * self.width
        except (OSError, ValueError):
            return 0
        return int(note["done"]) if whole and note["facts"] == self._facts else 0

    def _reserve(self) -> None:
        """Allocates the space for all rows, so that a disk that is too small fails at once."""
        size = len(self._header) + 4 * self.rows * self.width
        try:
            self._file.write(self._header)
            self._file.flush()
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)
            else:
                os.ftruncate(self._file.fileno(), size)  # macOS
        except OSError as error:
            with contextlib.suppress(OSError):  # what it could not write, it would write when it is closed
                self._file.close()
            self._partial.unlink(missing_ok=True)
            raise DataError(
                f"{self.output} needs {4e-9 * self.rows * self.width:.1f} GB: {error.strerror}; make room there"
            ) from None

    def write(self, vectors: np.ndarray) -> None:
        """The next rows, float32 [k, D]."""
        with named(self.output):
            self._file.seek(len(self._header) + 4 * self.done * self.width)
            self._file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
        self.done += len(vectors)
        cli.write_json(self._note, {"done": self.done, "facts": self._facts})

    def finish(self) -> None:
        """Gives the whole file its name, as Parquet if that says so."""
        self._file.close()
        if self.output.suffix == ".parquet":
            temporary = self.output.with_name(f".{self.output.name}.{os.getpid()}")
            try:
                _write_parquet(np.load(self._partial, mmap_mode="r"), temporary)
                os.replace(temporary, self.output)
            finally:
                temporary.unlink(missing_ok=True)
            self._partial.unlink()
        else:
            os.replace(self._partial, self.output)
        self._note.unlink()

    def close(self) -> None:
        """Leaves what is there for another run."""
        self._file.close()


@contextlib.contextmanager
def opened(output: Path, rows: int, width: int, facts: Mapping[str, Any]) -> Iterator[VectorFile]:
    """A `VectorFile` for this process alone.

    Raises:
      ConfigError: another process writes it, or its name ends in neither .npy nor .parquet.
      DataError: there is no room for it.
    """
    check_ending(output)
    lock = output.with_name(f".{output.name}.lock")
    descriptor = locks.hold(lock, wait=False)
    if descriptor is None:
        raise ConfigError(f"--output={output} is being written by another process; wait for it, or give another file")
    try:
        file = VectorFile(output, rows, width, facts)
        try:
            yield file
            if file.done == rows:
                file.finish()
        finally:
            file.close()
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def check_ending(output: Path) -> None:
    """Raises ConfigError unless the name says how vectors are to be written."""
    if output.suffix not in ENDINGS:
        raise ConfigError(f"--output={output} ends in neither {' nor '.join(ENDINGS)}; name it so")


def read(path: Path) -> np.ndarray:
    """The vectors [n, D] of a .npy file, which stay on the disk until they are read, or of a Parquet table.

    Raises:
      DataError: no such file, or one that holds something else.
    """
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            column = parquet.read_table(path, columns=[COLUMN]).column(0).combine_chunks()
            found = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        else:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as vectors: {str(error).splitlines()[0]}") from None
    if found.ndim != 2 or found.dtype.kind != "f" or not found.size:
        raise DataError(f"{path} holds {found.dtype} {list(found.shape)}, not vectors float [n, D]")
    return found


def _header(rows: int, width: int) -> bytes:
    """The start of a .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, width)})
    return file.getvalue()


def _write_parquet(vectors: np.ndarray, file: Path) -> None:
    """A table with one column of lists of fixed length."""
    import pyarrow
    from pyarrow import parquet

    kind = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
    with parquet.ParquetWriter(file, pyarrow.schema([(COLUMN, kind)])) as writer:
        for start in range(0, len(vectors), _ROWS):
            numbers = pyarrow.array(np.ascontiguousarray(vectors[start : start + _ROWS]).reshape(-1))
            lists = pyarrow.FixedSizeListArray.from_arrays(numbers, vectors.shape[1])
            writer.write_table(pyarrow.table({COLUMN: lists}))

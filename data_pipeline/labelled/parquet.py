"""Parquet tables, whose columns are the records' columns."""

import io
from collections.abc import Iterator

from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

_ROWS = 4096  # read together


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
) -> Labelled:
    """Parquet files; values are Python's of their types.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive.

    Raises:
      DataError: nothing to read; while reading: a file that is not Parquet, or damaged.
    """
    return _files.labelled("parquet", {"train": train, "dev": dev, "test": test}, (".parquet",), _records)


def _records(files: Iterator[File]) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    for file in files:
        row = 0
        try:
            table = parquet.ParquetFile(io.BytesIO(file.data))
            for batch in table.iter_batches(_ROWS):
                for values in batch.to_pylist():
                    yield Record(values, f"{file.name} row {row}")
                    row += 1
        except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{file.name} cannot be read as Parquet after row {row}: {reason}") from None

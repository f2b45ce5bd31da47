import sys

import numpy as np
import pytest

from data_pipeline.store.memory import release


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_pages_that_were_read_no_longer_count(tmp_path):
    np.arange(1 << 23, dtype=np.int64).tofile(tmp_path / "numbers")  # 64 MB
    mapped = np.asarray(np.memmap(tmp_path / "numbers", np.int64, mode="r"))[1:]
    total = int(mapped.sum())
    held = resident_file_pages()
    release(mapped)
    assert resident_file_pages() < held - 60e6
    assert int(mapped.sum()) == total


def test_other_arrays_are_left_alone():
    numbers = np.arange(10)
    release(numbers, numbers[2:])
    assert numbers.sum() == 45


def resident_file_pages() -> int:
    """Bytes of mapped files in this process's memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile"))

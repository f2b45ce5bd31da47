"""Files of named arrays, where the disk has no room for them."""

import resource

import numpy as np
import pytest

from bert_jax.formats.weights import write_safetensors
from configuration.foreign import FormatError


def test_a_full_disk_is_one_clear_line_and_leaves_the_file_of_before(tmp_path) -> None:
    file = tmp_path / "model.safetensors"
    write_safetensors(file, {"w": np.ones(3, np.float32)}, {})
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a file cannot grow beyond it, as on a full disk
    try:
        with pytest.raises(FormatError, match=r"model.safetensors could not be written: .+; make room there"):
            write_safetensors(file, {"w": np.ones(3000, np.float32)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]

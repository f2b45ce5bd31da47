"""Files of named arrays, where the disk has no room for them."""

import os
import resource

import numpy as np
import pytest

from bert_jax.formats import table, weights
from bert_jax.formats.weights import write_safetensors
from configuration import foreign
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


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "part.safetensors"])
def test_a_pipe_in_place_of_weights_does_not_hang(tmp_path, name):
    os.mkfifo(tmp_path / name)
    index = tmp_path / "model.safetensors.index.json"
    if name == "part.safetensors":
        index.write_text(f'{{"weight_map": {{"a": "{name}"}}}}')
    with pytest.raises(FormatError, match="no regular file"):
        weights.read(tmp_path)
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(FormatError, match="no regular file"):
        foreign.read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": null}', '{"weight_map": {"a": 3}}', '{"weight_map": []}']
)
def test_an_index_that_names_no_files_is_one_line(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(FormatError, match=r"index.json"):
        weights.read(tmp_path)


def test_json_nested_without_end_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(FormatError, match="nested too deep"):
        foreign.read_json(tmp_path / "config.json")


def test_weights_that_are_no_floats_are_refused():
    with pytest.raises(FormatError, match="no floats: a int8"):
        table.check({"a": (2,)}, {"a": np.zeros(2, np.int8)}, "a folder")


class Code:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return os._exit, (3,)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": Code()}, "is not a plain file of tensors: it holds more than tensors, such as Python code"),
        (b"rubbish", "is not a plain file of tensors: "),
        (b"", "is not a plain file of tensors: "),
        ({"a": 3}, "holds a int by the name 'a', not a tensor"),
        ([3], "holds a list, not tensors by name"),
    ],
    ids=["code", "rubbish", "empty", "number", "list"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_more_than_tensors_is_refused_without_advice_to_run_it(tmp_path, content, reason, zipped):
    import torch

    file = tmp_path / "pytorch_model.bin"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FormatError) as error:
        weights.read(tmp_path)
    said = str(error.value)
    assert reason in said
    assert not any(word in said for word in ("weights_only", "torch.load", "Re-running", "\n"))

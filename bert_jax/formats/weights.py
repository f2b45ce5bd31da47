"""Files of named arrays: safetensors, and PyTorch's older .bin without running what is in it."""

import json
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes  # noqa: F401  lets NumPy know bfloat16 by name, which safetensors asks for
import numpy as np
import safetensors
import safetensors.numpy

from configuration import foreign
from configuration.foreign import FormatError

SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"


def read(folder: Path) -> dict[str, np.ndarray]:
    """The weights of a PyTorch-layout folder: one file or several with an index; floats as float32.

    Raises:
      FormatError: no weights there, or a file that cannot be read.
    """
    for name, read_file in ((SAFETENSORS, read_safetensors), (BIN, read_bin)):
        if (folder / name).exists():
            return read_file(folder / name)
        index = folder / f"{name}.index.json"
        if index.exists():
            files = _files_of(index)
            return {key: array for file in files for key, array in read_file(_inside(folder, file)).items()}
    raise FormatError(f"{folder} has neither {SAFETENSORS} nor {BIN}")


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    """Name to array; half precisions become float32.

    Raises:
      FormatError: the file is not there, or not whole.
    """
    if reason := foreign.why_not_read(file):
        raise FormatError(f"{file} is {reason}")
    try:
        with safetensors.safe_open(file, framework="np") as tensors:
            return {name: _float32(tensors.get_tensor(name)) for name in tensors.keys()}  # noqa: SIM118  it is no mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise FormatError(f"{file} cannot be read as safetensors: {error}") from None


def read_bin(file: Path) -> dict[str, np.ndarray]:
    """Name to array of a file that torch.save wrote, holding tensors alone.

    Raises:
      FormatError: torch is not installed, or the file holds more than tensors.
    """
    if reason := foreign.why_not_read(file):
        raise FormatError(f"{file} is {reason}")
    try:
        import torch
    except ImportError:
        raise FormatError(
            f"{file} needs PyTorch to be read: install bert_jax[torch], or convert it to {SAFETENSORS}"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles of a form that PyTorch does not write
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler can raise any exception
        # PyTorch's own words would advise to run what is in the file.
        code = "it holds more than tensors, such as Python code, which is not run"
        reason = (
            code if isinstance(error, pickle.UnpicklingError) else (str(error).splitlines() or ["it is cut off"])[0]
        )
        raise FormatError(
            f"{file} is not a plain file of tensors: {reason}; take the checkpoint's {SAFETENSORS} instead"
        ) from None
    if not isinstance(tensors, Mapping):
        raise FormatError(f"{file} holds a {type(tensors).__name__}, not tensors by name")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise FormatError(f"{file} holds a {type(tensor).__name__} by the name {name!r}, not a tensor")
    return {
        name: tensor.float().numpy() if tensor.is_floating_point() else tensor.numpy()
        for name, tensor in tensors.items()
    }


def write_safetensors(file: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes the arrays atomically.

    Raises:
      FormatError: the disk is full, or cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        safetensors.numpy.save_file(dict(tensors), temporary, metadata=dict(metadata))
        os.replace(temporary, file)
    except safetensors.SafetensorError as error:
        raise FormatError(f"{file} could not be written: {error}; make room there and run again") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(file: Path, content: Mapping) -> None:
    """Writes sorted, indented JSON."""
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _files_of(index: Path) -> list[str]:
    """The files that an index names.

    Raises:
      FormatError: it names none.
    """
    named = foreign.read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(file, str) for file in named.values()):
        raise FormatError(f"{index} has no weight_map of names to files")
    return sorted(set(named.values()))


def _float32(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "iub" else array.astype(np.float32)


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise FormatError(f"{folder}: the index of the weights names {name!r}, which is not a file beside it")
    return folder / name

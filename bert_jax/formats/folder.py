"""Opens any folder that holds an encoder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from bert_jax import config
from bert_jax.formats import google_tensorflow, huggingface, native, weights
from bert_jax.formats.table import Params
from bert_jax.objectives import encoders_of, exported_names
from configuration import foreign
from configuration.foreign import FormatError
from data_pipeline import checkpoint_tokenizer
from data_pipeline.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Opened:
    """An encoder as it lies on disk."""

    model: config.Model
    params: Params
    tokenizer: Tokenizer | None  # None where the folder has none
    family: str  # of PyTorch models it came from, such as "roberta"; "" for none
    averaged: bool = False  # the parameters are a moving average over a run's updates
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the objective's own, in PyTorch's layout
    encoders: Mapping[str, tuple[config.Model, Params]] = dataclasses.field(default_factory=dict)  # trained beside it


def read(path: Path) -> Opened:
    """Opens a work folder, a folder of ours, a folder in PyTorch's layout, or Google's TensorFlow checkpoint.

    Raises:
      FormatError: there is no such folder, it is none of these, or what is in it does not fit together.
    """
    if not path.is_dir():
        raise FormatError(f"{path} is no folder")
    if (path / "checkpoints").is_dir():
        return read_workdir(path)
    if (path / native.PARAMS).exists():
        model, params, family = native.read(path)
    elif (path / huggingface.CONFIG).exists():
        family = foreign.read_json(path / huggingface.CONFIG).get("model_type", "")
        model, params = huggingface.read(path)
    elif google_tensorflow.is_here(path):
        model, params = google_tensorflow.read(path)
        family = ""
    else:
        raise FormatError(
            f"{path} holds no encoder: neither checkpoints/ (a work folder) nor {native.PARAMS} (ours) "
            f"nor {huggingface.CONFIG} with {weights.SAFETENSORS} (PyTorch's layout) "
            "nor bert_config.json with bert_model.ckpt.index (Google's)"
        )
    found = checkpoint_tokenizer.read(path)
    if found is not None and found.vocab_size > model.vocab_size:
        raise FormatError(
            f"{path}: the tokenizer has {found.vocab_size} pieces and the encoder {model.vocab_size} embeddings"
        )
    return Opened(model, params, found, family)


def read_model(path: Path) -> config.Model:
    """The configuration of the encoder that `read` gives, but for its heads, which only its weights tell.

    Raises:
      FormatError: as `read`, of what can be seen without the weights.
    """
    if (path / "checkpoints").is_dir():
        return read_config(path).model
    if (path / native.PARAMS).exists():
        return native.read_model(path)
    if (path / huggingface.CONFIG).exists():
        return huggingface.read_model(path)
    if google_tensorflow.is_here(path):
        return google_tensorflow.read_model(path)
    return read(path).model  # says what is missing


def read_config(path: Path) -> config.Config:
    """The configuration of a work folder."""
    from bert_jax.checkpoints import manager as checkpoint  # Orbax takes seconds to import

    return checkpoint.read_config(path)


def read_workdir(path: Path) -> Opened:
    """The newest checkpoint of a work folder, with the heads kept beside it, and the tokenizer of its store."""
    from bert_jax.checkpoints import kept  # Orbax takes seconds to import
    from bert_jax.checkpoints.manager import folder_of, restore_params

    run, params, _ = restore_params(path)
    params = kept.read(folder_of(path, run.checkpoints)) | params
    store = Path(run.data.store or path / "store")
    return Opened(
        run.model,
        params,
        checkpoint_tokenizer.read(store),
        "",
        averaged=run.average_decay > 0,
        names=exported_names(run),
        encoders=encoders_of(run, params),
    )

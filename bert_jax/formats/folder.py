"""Opens any folder that holds an encoder."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

from bert_jax import config
from bert_jax.embedding.readout import Readout
from bert_jax.formats import google_tensorflow, huggingface, native, sentence_transformers, weights
from bert_jax.formats.table import Params
from bert_jax.objectives import encoders_of, exported_names, own_readout
from configuration import foreign
from configuration.foreign import FormatError
from configuration.variants import Variant
from data_pipeline import checkpoint_tokenizer
from data_pipeline.tokenizers import Tokenizer


@dataclasses.dataclass(frozen=True)
class Opened:
    """An encoder as it lies on disk."""

    model: config.Model
    params: Params
    tokenizer: Tokenizer | None  # None where the folder has none
    family: str  # of PyTorch models it came from, such as "roberta"; "" for none
    transforms: tuple[str, ...] = ()  # what a run made of its weights, such as an average, in this order
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of the objective's own, in PyTorch's layout
    task: Variant | None = None  # that it was fine-tuned on
    encoders: Mapping[str, tuple[config.Model, Params]] = dataclasses.field(default_factory=dict)  # trained beside it
    tasks: Mapping[str, Variant] = dataclasses.field(default_factory=dict)  # of those that were fine-tuned, by name
    readout: Readout | None = None  # how the folder says that vectors are read
    kept: frozenset[str] = frozenset()  # parts of the encoder it started from that a run did not train


def read(path: Path, step: str = "", store: str = "", checkpoints: str = "") -> Opened:
    """Opens a work folder, a folder of ours, one in PyTorch's layout or sentence-transformers', or Google's checkpoint.

    Args:
      step: of a work folder, the checkpoint's step or "best"; if not given, the newest.
      store, checkpoints: of a work folder, where its configuration names a path or URL outside the folder: the
        folder may be untrusted, so they are opened only if the user names them too.

    Raises:
      FormatError: there is no such folder, it is none of these, or what is in it does not fit together.
      ConfigError: the checkpoints are outside the work folder, and not named.
    """
    if not path.is_dir():
        raise FormatError(f"{path} is no folder")
    if (path / "checkpoints").is_dir() or checkpoints:
        return read_workdir(path, step, store, checkpoints)
    if step:
        raise FormatError(f"--step={step}: {path} is no work folder of a run, which alone has steps; leave --step out")
    readout = sentence_transformers.read(path) if sentence_transformers.is_here(path) else None
    path = sentence_transformers.encoder_folder(path)
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
    return Opened(model, params, found, family, readout=readout)


def read_model(path: Path) -> config.Model:
    """The configuration of the encoder that `read` gives, without heads, which only its weights show.

    Raises:
      FormatError: as `read`, of what can be seen without the weights.
    """
    if (path / "checkpoints").is_dir():
        return read_run_model(path)
    path = sentence_transformers.encoder_folder(path)
    if (path / native.PARAMS).exists():
        return native.read_model(path)
    if (path / huggingface.CONFIG).exists():
        return huggingface.read_model(path)
    if google_tensorflow.is_here(path):
        return google_tensorflow.read_model(path)
    return read(path).model  # says what is missing


def read_tokenizer(path: Path) -> Tokenizer | None:
    """The tokenizer of the encoder that `read` gives, or None where there is none.

    Raises:
      FormatError: there is no such folder, or the tokenizer is damaged.
    """
    if not path.is_dir():
        raise FormatError(f"{path} is no folder")
    return checkpoint_tokenizer.read(checkpoint_tokenizer.folder_of(path))


def read_run_model(path: Path) -> config.Model:
    """The encoder of a work folder's newest checkpoint."""
    from bert_jax.checkpoints.manager import read_config, written_in  # Orbax takes seconds to import

    return read_config(path).as_of(max(written_in(path, "")[1], default=0)).model


def read_workdir(path: Path, step: str = "", store: str = "", checkpoints: str = "") -> Opened:
    """A checkpoint of a work folder, with the heads kept beside it, and the folder's tokenizer or its store's."""
    from bert_jax.checkpoints import kept  # Orbax takes seconds to import
    from bert_jax.checkpoints.manager import restore_params, written_in

    run, params, _ = restore_params(path, step, checkpoints)
    untrained = kept.read(written_in(path, checkpoints)[0])
    untrained = {name: part for name, part in untrained.items() if name not in params}
    params = untrained | params
    try:
        own = checkpoint_tokenizer.is_kept(path) and not store
        place = path if own else checkpoint_tokenizer.store_of(path, run.data.store, store)
        tokenizer = checkpoint_tokenizer.read(place)
    except checkpoint_tokenizer.OutsideError as error:
        print(f"opened without its tokenizer: {error}", file=sys.stderr)
        tokenizer = None
    transforms = tuple(transform.name for transform in run.transforms)
    labelled = [run.labelled, *run.labelled.beside] if run.labelled else []
    tasks = {each.name: each.task for each in labelled if each.name}
    task = labelled[0].task if labelled and not tasks else None
    encoders, names = encoders_of(run, params), exported_names(run)
    readout = own_readout(run.objective, run.model, params)
    of_encoder = frozenset(untrained)
    return Opened(run.model, params, tokenizer, "", transforms, names, task, encoders, tasks, readout, of_encoder)

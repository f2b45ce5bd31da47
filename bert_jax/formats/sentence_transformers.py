"""Folders of the library sentence-transformers: modules.json names what comes after the encoder, one folder each.

Read as its versions 2 to 6 write them; written as all of these read them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.config import Model
from bert_jax.embedding.pooling import Pooling
from bert_jax.embedding.readout import Dense, Normalise, Readout, Step
from bert_jax.formats import weights
from configuration import foreign
from configuration.foreign import FormatError

MODULES = "modules.json"
ABOUT = "about.json"  # beside a dense layer of ours: what it was fit on
SETTINGS = "config_sentence_transformers.json"
ENCODER = "sentence_bert_config.json"
CLASSES = "sentence_transformers.models"
POOLINGS = {  # ours to theirs, in the order in which theirs stand side by side
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt": "mean_sqrt_len_tokens",
    "weighted_mean": "weightedmean_tokens",
    "last": "lasttoken",
}
NAMES = {**POOLINGS, "cls": "cls", "max": "max", "mean": "mean", "weighted_mean": "weightedmean"}  # since version 6
ACTIVATIONS = {
    "identity": "linear.Identity",
    "tanh": "activation.Tanh",
    "relu": "activation.ReLU",
    "gelu": "activation.GELU",
    "silu": "activation.SiLU",
    "sigmoid": "activation.Sigmoid",
}


def is_here(folder: Path) -> bool:
    """Whether the folder is one of theirs."""
    return (folder / MODULES).exists()


def encoder_folder(folder: Path) -> Path:
    """The encoder's folder: the folder itself, or that of its first module.

    Raises:
      FormatError: modules.json is damaged, or its first module is no encoder.
    """
    if not is_here(folder):
        return folder
    kind, place = modules(folder)[0]
    if kind != "Transformer":
        raise FormatError(
            f"{folder / MODULES} begins with a {kind}; only models that begin with a Transformer are read"
        )
    return place


def read(folder: Path) -> Readout:
    """How vectors are read.

    Raises:
      FormatError: a module, a pooling or an activation that this project lacks.
    """
    with foreign.understood(f"what {folder / MODULES} names"):
        return _read(folder)


def _read(folder: Path) -> Readout:
    (_, encoder), *rest = modules(folder)
    pooling, steps = Pooling(("mean",)), list[Step]()
    for kind, place in rest:
        if kind == "Pooling" and not steps:
            pooling = read_pooling(place)
        elif kind == "Dense":
            steps.append(read_dense(place))
        elif kind == "Normalize":
            steps.append(Normalise())
        else:
            raise FormatError(f"{folder / MODULES} has a module {kind} after the encoder, which this project lacks")
    length, lowercase = read_encoder(encoder)
    return Readout(pooling, tuple(steps), length, lowercase, default_prompt(folder))


def modules(folder: Path) -> list[tuple[str, Path]]:
    """Class and folder of each module."""
    file = folder / MODULES
    try:
        content = json.loads(foreign.read_text(file))
        found = [(str(one["type"]).rsplit(".", 1)[-1], str(one["path"])) for one in content]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(f"{file} is no list of modules: {error!r:.60}") from None
    for _, path in found:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise FormatError(f"{file} names the folder {path!r}, which is not within {folder}")
    if not found:
        raise FormatError(f"{file} names no module")
    return [(kind, folder / path) for kind, path in found]


def read_pooling(folder: Path) -> Pooling:
    """The pooling of a module's folder."""
    file = folder / "config.json"
    said = foreign.read_json(file)
    if said.get("include_prompt") is False:
        raise FormatError(f"{file}: include_prompt is false, which this project lacks")
    if "pooling_mode" in said:
        theirs = said["pooling_mode"]
        ours = {name: mode for mode, name in NAMES.items()}
        chosen = [theirs] if isinstance(theirs, str) else list(theirs)
        if unknown := [name for name in chosen if name not in ours]:
            raise FormatError(f"{file}: pooling_mode is {unknown[0]!r}; this project has {', '.join(ours)}")
        return Pooling(tuple(ours[name] for name in chosen))
    modes = tuple(mode for mode, name in POOLINGS.items() if said.get(f"pooling_mode_{name}"))
    return Pooling(modes or ("mean",))


def read_dense(folder: Path) -> Dense:
    """The dense layer of a module's folder."""
    file = folder / "config.json"
    said = foreign.read_json(file)
    name = str(said.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    known = {theirs.rsplit(".", 1)[-1]: ours for ours, theirs in ACTIVATIONS.items()}
    if name not in known or said.get("use_residual"):
        what = "use_residual is true" if name in known else f"activation_function is {name!r}"
        raise FormatError(f"{file}: {what}, which this project lacks; it has {', '.join(known)}")
    tensors = weights.read(folder)
    if "linear.weight" not in tensors:
        raise FormatError(f"{folder} has no array linear.weight but {', '.join(tensors)}")
    about = foreign.read_json(folder / ABOUT) if (folder / ABOUT).exists() else {}
    return Dense(np.ascontiguousarray(tensors["linear.weight"].T), tensors.get("linear.bias"), known[name], about)


def read_encoder(folder: Path) -> tuple[int, bool]:
    """How many tokens a text is cut to (0: as many as the encoder takes), and whether it is lower-cased."""
    said = foreign.read_json(folder / ENCODER) if (folder / ENCODER).exists() else {}
    words = folder / "tokenizer_config.json"
    length = said.get("max_seq_length") or (foreign.read_json(words) if words.exists() else {}).get("model_max_length")
    return length if isinstance(length, int) and 0 < length < 2**31 else 0, bool(said.get("do_lower_case"))


def default_prompt(folder: Path) -> str:
    """What stands before each text where nothing else is asked for."""
    said = foreign.read_json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
    name = said.get("default_prompt_name")
    return str((said.get("prompts") or {}).get(name, "")) if name else ""


def write(readout: Readout, model: Model, folder: Path) -> None:
    """Writes the modules beside an encoder in PyTorch's layout.

    Raises:
      FormatError: a readout that the library lacks.
    """
    if readout.pooling.layer_weights:
        raise FormatError("sentence-transformers pools the last layer alone; export with another --pooling")
    made: list[tuple[str, Callable[[Path], Any] | None]] = [
        ("Transformer", None),
        ("Pooling", _pooling(readout, model)),
    ]
    made += [("Normalize", _nothing) if isinstance(s, Normalise) else ("Dense", _dense(s)) for s in readout.steps]
    listed = []
    for number, (kind, fill) in enumerate(made):
        path = f"{number}_{kind}" if fill else ""
        listed.append({"idx": number, "name": str(number), "path": path, "type": f"{CLASSES}.{kind}"})
        if fill:
            (folder / path).mkdir()
            fill(folder / path)
    length = min(readout.max_length or model.max_length, model.max_length)
    weights.write_json(folder / ENCODER, {"max_seq_length": length, "do_lower_case": readout.lowercase})
    prompts = {"prompts": {"default": readout.prompt}, "default_prompt_name": "default"} if readout.prompt else {}
    weights.write_json(folder / SETTINGS, {"similarity_fn_name": "cosine", **prompts})
    (folder / MODULES).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _pooling(readout: Readout, model: Model) -> Callable[[Path], None]:
    modes = readout.pooling.modes
    if modes == tuple(mode for mode in POOLINGS if mode in modes):
        said: dict[str, Any] = {f"pooling_mode_{name}": mode in modes for mode, name in POOLINGS.items()}
        said |= {"word_embedding_dimension": model.width}
    else:  # an order that only version 6 can have
        said = {"pooling_mode": [NAMES[mode] for mode in modes], "embedding_dimension": model.width}
    return lambda folder: weights.write_json(folder / "config.json", said | {"include_prompt": True})


def _dense(dense: Dense) -> Callable[[Path], None]:
    tensors = {"linear.weight": np.ascontiguousarray(dense.kernel.T, np.float32)}
    if dense.bias is not None:
        tensors["linear.bias"] = np.asarray(dense.bias, np.float32)
    said = {
        "in_features": dense.kernel.shape[0],
        "out_features": dense.kernel.shape[1],
        "bias": dense.bias is not None,
        "activation_function": f"torch.nn.modules.{ACTIVATIONS[dense.activation]}",
    }

    def fill(folder: Path) -> None:
        weights.write_json(folder / "config.json", said)
        weights.write_safetensors(folder / weights.SAFETENSORS, tensors, {"format": "pt"})
        if dense.about:
            weights.write_json(folder / ABOUT, dense.about)

    return fill


def _nothing(folder: Path) -> None:
    """A placeholder file: empty folders get lost when folders are copied."""
    weights.write_json(folder / "config.json", {"module_input_name": "sentence_embedding"})

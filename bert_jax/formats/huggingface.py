"""Folders in PyTorch's layout: config.json and model.safetensors, as the library transformers reads and writes them.

The family (bert, roberta, …) is a file of `bert_jax/formats/families`, named by config.json's `model_type`.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax import config
from bert_jax.formats import family as families
from bert_jax.formats import table, weights
from bert_jax.formats.family import Family, Settings
from bert_jax.formats.table import Params, Rule
from bert_jax.modeling import bert, heads
from configuration import foreign
from configuration.foreign import FormatError

CONFIG = "config.json"
CODE = Path(__file__).with_name("code")
BUFFERS = ("position_ids", "token_type_ids", "positions_encoding")  # constants that older versions stored
DEFAULTS = (
    "bert",
    "albert",
    "roformer",
    "modernbert",
    "nezha",
    "bert_jax",
)  # the first of them that expresses an encoder is taken


def read(folder: Path) -> tuple[config.Model, Params]:
    """The encoder of a folder. Heads that its weights lack are left out of the parameters.

    Raises:
      FormatError: weights missing, unknown or misshapen (all of them listed), or an encoder that this project lacks.
    """
    settings, family = read_settings(folder)
    model = family.model(settings)
    rules = family.rules(model, settings)
    tensors = normalised(family, rules, weights.read(folder), settings, str(folder))
    check_constants(family.constants(model), tensors, str(folder))
    return model, table.restore(rules, model, bert.abstract_params(model, heads.parts(model)), tensors, str(folder))


def read_model(folder: Path) -> config.Model:
    """The encoder's configuration alone, without heads."""
    settings, family = read_settings(folder)
    return family.model(settings)


def read_settings(folder: Path) -> tuple[Settings, Family]:
    """What config.json says, and the family that it names.

    Raises:
      FormatError: it names none.
    """
    settings = foreign.read_json(folder / CONFIG)
    if "model_type" not in settings:
        raise FormatError(f"{folder / CONFIG} has no model_type, so the names of its weights are unknown")
    return settings, families.load(settings["model_type"])


def write(
    model: config.Model, params: Params, folder: Path, name: str = "", special_ids: Settings | None = None
) -> None:
    """Writes config.json and model.safetensors into an existing folder.

    Args:
      name: of the family; if not given, the first of DEFAULTS that expresses the encoder.
      special_ids: the tokenizer's pad_token_id, bos_token_id and eos_token_id; the family's usual ones if not given.

    Raises:
      FormatError: the family cannot express this encoder.
    """
    name, (settings, tensors) = (
        (name, expressed(model, params, name, special_ids)) if name else first_that_can(model, params, special_ids)
    )
    for file in families.load(name).code:
        shutil.copyfile(CODE / file, folder / file)
    weights.write_json(folder / CONFIG, settings)
    weights.write_safetensors(folder / weights.SAFETENSORS, tensors, {"format": "pt"})


def first_that_can(
    model: config.Model, params: Params, special_ids: Settings | None
) -> tuple[str, tuple[Settings, dict[str, np.ndarray]]]:
    """The first family of DEFAULTS that expresses the encoder, and what `expressed` gives for it."""
    for name in DEFAULTS[:-1]:
        try:
            return name, expressed(model, params, name, special_ids)
        except FormatError:
            continue
    return DEFAULTS[-1], expressed(model, params, DEFAULTS[-1], special_ids)


def expressed(
    model: config.Model, params: Params, name: str, special_ids: Settings | None
) -> tuple[Settings, dict[str, np.ndarray]]:
    """The content of config.json and the arrays of model.safetensors, in the layout of a family.

    Raises:
      FormatError: the family cannot express this encoder.
    """
    family = families.load(name)
    settings = family.settings(
        model, {key: (special_ids or {}).get(key, usual) for key, usual in family.special_ids.items()}
    )
    families.check_expresses(family, name, model, settings)
    settings |= family.heads(params.keys())
    tensors = table.export(family.rules(model, settings), model, params) | family.constants(model)
    present = frozenset(head for head in heads.HEADS if head in params and head != "pooler")
    if present not in family.architectures:
        raise FormatError(f"the {name} layout has no model with the heads {', '.join(sorted(present))} and no other")
    if not present:
        tensors = {tensor.removeprefix(f"{family.prefix}."): array for tensor, array in tensors.items()}
    return settings | {
        "model_type": name,
        "architectures": [family.architectures[present]],
        "dtype": "float32",
    }, tensors


def check_constants(constants: dict[str, np.ndarray], tensors: dict[str, np.ndarray], source: str) -> None:
    """Takes a family's constants out of `tensors`.

    Raises:
      FormatError: one is there and is another than this encoder computes with.
    """
    for name, wanted in constants.items():
        found = tensors.pop(name, wanted)
        if found.shape != wanted.shape or not np.allclose(found, wanted, rtol=0, atol=1e-3):
            raise FormatError(f"{name} of {source} is no weight, and not what this encoder has in its place")


def normalised(
    family: Family, rules: Sequence[Rule], tensors: dict[str, np.ndarray], settings: Settings, source: str
) -> dict[str, np.ndarray]:
    """The weights under today's names: old LayerNorm names, bare encoders, constants, and what repeats another array.

    Raises:
      FormatError: the output weights are not the word embeddings.
    """
    tensors = {modern(name): array for name, array in tensors.items() if name.rsplit(".", 1)[-1] not in BUFFERS}
    if not any(name.startswith(f"{family.prefix}.") for name in tensors):
        tensors = {f"{family.prefix}.{name}": array for name, array in tensors.items()}
    if settings.get("tie_word_embeddings") is False and family.tied:
        decoder = next(iter(family.tied))
        if "mlm_head" in table.parts_in(rules, tensors) and decoder not in tensors:
            raise FormatError(
                f"{source} lacks {decoder}, though its configuration says that it is not the word embeddings"
            )
    for copy, original in family.tied.items():
        if copy not in tensors:
            continue
        repeated = tensors.pop(copy)
        if not np.array_equal(repeated, tensors.setdefault(original, repeated)):
            raise FormatError(f"{copy} of {source} differs from {original}; this encoder has one array for both")
    return tensors


def modern(name: str) -> str:
    """LayerNorm's gamma and beta are called weight and bias today."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name

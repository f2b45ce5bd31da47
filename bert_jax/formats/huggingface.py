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
from bert_jax.modeling import bert
from configuration import foreign
from configuration.foreign import FormatError
from configuration.variants import names

CONFIG = "config.json"
CODE = Path(__file__).with_name("code")
BUFFERS = ("position_ids", "token_type_ids", "positions_encoding")  # constants that older versions stored
WITHOUT_POOLER = frozenset({"token_head", "span_head"})  # heads whose classes have none
OBJECTIVE_WEIGHTS = "objective_weights"  # in config.json: names of weights that are the pretraining objective's own


def read(folder: Path) -> tuple[config.Model, Params]:
    """The encoder of a folder. Heads that its weights lack are left out of the parameters.

    Raises:
      FormatError: weights missing, unknown or misshapen (all of them listed), or an encoder that this project lacks.
    """
    settings, family = read_settings(folder)
    model = model_of(settings, family, folder)
    architecture = next(iter(settings.get("architectures") or [""]))
    rules = family.all_rules(model, settings, family.heads_of(architecture))
    own = settings.get(OBJECTIVE_WEIGHTS) or []
    found = {name: array for name, array in weights.read(folder).items() if name not in own}
    tensors = normalised(family, rules, found, settings, str(folder))
    check_constants(family.constants(model), tensors, str(folder))
    shapes = families.shapes(model, rules, tensors, outputs_of(settings))
    return model, table.restore(rules, model, shapes, tensors, str(folder))


def outputs_of(settings: Settings) -> int:
    """Classes of a task's head."""
    labels = settings.get("id2label")
    return len(labels) if isinstance(labels, dict) else 2


def read_model(folder: Path) -> config.Model:
    """The encoder's configuration alone, without heads."""
    settings, family = read_settings(folder)
    return model_of(settings, family, folder)


def model_of(settings: Settings, family: Family, folder: Path) -> config.Model:
    """The encoder that config.json describes.

    Raises:
      FormatError: it describes none, or none of this project's.
    """
    with foreign.understood(folder / CONFIG):
        return family.model(settings)


def read_settings(folder: Path) -> tuple[Settings, Family]:
    """What config.json says, and the family that it names.

    Raises:
      FormatError: it names none, or a setting is of another type.
    """
    settings = foreign.read_json(folder / CONFIG)
    if "model_type" not in settings:
        raise FormatError(f"{folder / CONFIG} has no model_type, so the names of its weights are unknown")
    foreign.check_types(families.Known, settings, str(folder / CONFIG))
    return settings, families.load(settings["model_type"])


def write(
    model: config.Model,
    params: Params,
    folder: Path,
    name: str = "",
    special_ids: Settings | None = None,
    own: Sequence[Rule] = (),
    said: Settings | None = None,
) -> None:
    """Writes config.json and model.safetensors into an existing folder.

    Args:
      name: of the family; if not given, the preferred one of those that express the encoder.
      special_ids: the tokenizer's pad_token_id, bos_token_id and eos_token_id; the family's usual ones if not given.
      own: names of parameters that no family has, which are written beside the others.
      said: what config.json holds besides, such as the names of classes.

    Raises:
      FormatError: the family cannot express this encoder.
    """
    parts = {rule.ours.split("/")[0] for rule in own}
    known = {part: arrays for part, arrays in params.items() if part not in parts}
    name = name or preferred_family(model, known)
    settings, tensors = expressed(model, known, name, special_ids)
    extra = table.export(own, model, {part: params[part] for part in parts & params.keys()})
    if twice := sorted(extra.keys() & tensors.keys()):
        raise FormatError(f"the objective's own weights have names of the {name} layout: {', '.join(twice)}")
    settings |= {OBJECTIVE_WEIGHTS: sorted(extra)} if extra else {}
    family = families.load(name)
    for file in family.code:
        shutil.copyfile(CODE / file, folder / file)
    for file, text in family.own_code(model).items():
        (folder / file).write_text(text, encoding="utf-8")
    weights.write_json(folder / CONFIG, settings | (said or {}))
    tensors |= extra
    weights.write_safetensors(folder / weights.SAFETENSORS, tensors, {"format": "pt"})


def preferred_family(model: config.Model, params: Params) -> str:
    """The preferred family that expresses an encoder; `params` may be abstract.

    Raises:
      FormatError: none does; the message is that of the last one tried.
    """
    for name in (known := by_preference()):
        try:
            described(model, params, name, None)
            return name
        except FormatError:
            if name == known[-1]:
                raise
    raise AssertionError("there is no family")


def by_preference() -> list[str]:
    """The families that an export may choose automatically, the preferred ones first."""
    preference = {name: families.load(name).preference for name in names("bert_jax.formats.families")}
    return sorted((name for name in preference if preference[name]), key=preference.__getitem__, reverse=True)


def expressed(
    model: config.Model, params: Params, name: str, special_ids: Settings | None
) -> tuple[Settings, dict[str, np.ndarray]]:
    """The content of config.json and the arrays of model.safetensors, in the layout of a family.

    Raises:
      FormatError: the family cannot express this encoder.
    """
    family = families.load(name)
    settings, rules, params = described(model, params, name, special_ids)
    tensors = table.export(rules, model, params) | family.constants(model)
    if not heads_in(model, params):
        tensors = {tensor.removeprefix(f"{family.prefix}."): array for tensor, array in tensors.items()}
    return settings, tensors


def described(
    model: config.Model, params: Params, name: str, special_ids: Settings | None
) -> tuple[Settings, list[Rule], Params]:
    """The content of config.json, the table of names, and the parameters that the family's class has.

    Args:
      params: may be abstract.

    Raises:
      FormatError: the family cannot express this encoder.
    """
    family = families.load(name)
    settings = family.settings(
        model, {key: (special_ids or {}).get(key, usual) for key, usual in family.special_ids.items()}
    )
    families.check_expresses(family, name, model, settings)
    present = heads_in(model, params)
    if present & WITHOUT_POOLER:
        params = {part: arrays for part, arrays in params.items() if part != "pooler"}
    settings |= family.heads(params.keys())
    rules = family.all_rules(model, settings, present)
    table.check_covered(rules, params)
    if present not in family.architectures:
        raise FormatError(f"the {name} layout has no model with the heads {', '.join(sorted(present))} and no other")
    settings |= {
        "model_type": family.model_type or name,
        "architectures": [family.architectures[present]],
        "dtype": "float32",
    }
    return settings, rules, params


def heads_in(model: config.Model, params: Params) -> frozenset[str]:
    """The parts besides the encoder and its pooler."""
    return frozenset(params.keys() - bert.encoder_parts(model).keys() - {"pooler"})


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
    """The weights under today's names: old LayerNorm names, bare encoders, no constants, and no array twice.

    Raises:
      FormatError: the output weights are not the word embeddings.
    """
    tensors = {modern(name): array for name, array in tensors.items() if name.rsplit(".", 1)[-1] not in BUFFERS}
    if not any(name.startswith(f"{family.prefix}.") for name in tensors):
        tensors = {f"{family.prefix}.{name}": array for name, array in tensors.items()}
    tensors = {name: array for name, array in tensors.items() if not name.startswith(family.unread)}
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

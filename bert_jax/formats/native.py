"""Our own folder of an encoder: config.json, params.safetensors and tokenizer/.

Parameters are named by their path in the tree, joined by "/". What `convert --source` writes, so that training
can start from a checkpoint of another project.
"""

import dataclasses
from pathlib import Path

import numpy as np

from bert_jax import config
from bert_jax.formats import table, weights
from bert_jax.formats.table import Params
from bert_jax.modeling import bert, heads
from configuration import foreign
from configuration.foreign import FormatError
from configuration.variants import names, nearest

CONFIG, PARAMS = "config.json", "params.safetensors"
FORMAT = "bert_jax encoder"


def read(folder: Path) -> tuple[config.Model, Params, str]:
    """The encoder, and the family of PyTorch models it came from ("" for none).

    Raises:
      FormatError: a file missing or damaged; parameters missing, unknown or misshapen (all of them listed).
    """
    content = read_content(folder)
    model = model_from_dict(content["model"], folder / CONFIG)
    tensors = weights.read_safetensors(folder / PARAMS)
    there = {table.part(path) for path in tensors} - bert.encoder_parts(model).keys()
    known = there & set(names("bert_jax.modeling.heads"))
    shapes = table.flatten(bert.abstract_params(model, heads.parts(model, *sorted(known))))
    table.check({path: leaf.shape for path, leaf in shapes}, tensors, str(folder))
    return model, table.unflatten(tensors), content.get("family", "")


def read_model(folder: Path) -> config.Model:
    """The encoder's configuration alone."""
    return model_from_dict(read_content(folder)["model"], folder / CONFIG)


def read_content(folder: Path) -> dict:
    """What config.json holds.

    Raises:
      FormatError: it is not of an encoder of ours.
    """
    content = foreign.read_json(folder / CONFIG)
    if content.get("format") != FORMAT:
        raise FormatError(f"{folder / CONFIG} is not the configuration of an encoder of ours (format {FORMAT!r})")
    return content


def write(model: config.Model, params: Params, folder: Path, family: str = "") -> None:
    """Writes config.json and params.safetensors into an existing folder."""
    content = {"format": FORMAT, "family": family, "model": dataclasses.asdict(model)}
    weights.write_json(folder / CONFIG, content)
    weights.write_safetensors(
        folder / PARAMS, {path: np.asarray(leaf) for path, leaf in table.flatten(params)}, {"format": FORMAT}
    )


def model_from_dict(fields: dict, source: Path) -> config.Model:
    """The model that `dataclasses.asdict` gave, checked.

    Raises:
      FormatError: an unknown field or a value of the wrong type.
    """
    import pydantic

    known = [field.name for field in dataclasses.fields(config.Model)]
    for name in fields:
        if name not in known:
            raise FormatError(f"{source}: model.{name} is no field of this version{nearest(name, known)}")
    try:
        return pydantic.TypeAdapter(config.Model).validate_python(fields)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise FormatError(f"{source}: model.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

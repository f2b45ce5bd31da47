"""ELECTRA's joint model in PyTorch, which the library transformers lacks: its two classes, tied by hand."""

from pathlib import Path

import jax
import numpy as np
import torch
import transformers

from bert_jax.config import Model
from bert_jax.formats import family, huggingface, table
from bert_jax.objectives import _generator


class Joint(torch.nn.Module):
    """Discriminator and generator with one set of embeddings; both losses are those of the classes."""

    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        generator.electra.embeddings = discriminator.electra.embeddings
        words = discriminator.electra.embeddings.word_embeddings
        generator.generator_lm_head.weight = words.weight
        words.padding_idx = None  # as in the authors' code: a guess may be [PAD], whose vector then has a gradient

    def forward(self, corrupted: dict, guessed: dict, weight: float = 50.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Both losses of a batch as our objective corrupts it and with the guesses that our generator drew."""
        mask, types, positions = (long(corrupted[n]) for n in ("segments", "token_types", "positions"))
        mask = (mask > 0).long()
        same = {"attention_mask": mask, "token_type_ids": types, "position_ids": positions}
        mlm = self.generator(long(corrupted["tokens"]), labels=labels(corrupted), **same).loss
        rtd = self.discriminator(long(guessed["tokens"]), labels=long(guessed["replaced"]), **same).loss
        return mlm, weight * rtd


def long(x) -> torch.Tensor:
    return torch.tensor(np.asarray(x)).long()


def labels(corrupted: dict) -> torch.Tensor:
    """[B, L]: the target at predicted places, −100 elsewhere."""
    found = np.full(corrupted["tokens"].shape, -100)
    wanted = np.where(np.asarray(corrupted["target_weights"]) > 0, corrupted["targets"], -100)
    np.put_along_axis(found, np.asarray(corrupted["target_positions"]), wanted, axis=1)
    return long(found)


def split(params: dict) -> tuple[dict, dict]:
    """The parameters of the discriminator and of the generator, each laid out as an encoder's."""
    own = {name: part for name, part in params.items() if name != "generator"}
    return own, _generator.parameters(params)


def build(model: Model, generator: Model, params: dict, folder: Path) -> Joint:
    """The PyTorch model with our parameters, by way of our exports."""
    params, models = jax.device_get(params), []
    kinds = (transformers.ElectraForPreTraining, transformers.ElectraForMaskedLM)
    for number, (of, part, kind) in enumerate(zip((model, generator), split(params), kinds, strict=True)):
        (folder / str(number)).mkdir()
        huggingface.write(of, part, folder / str(number), "electra")
        found, report = kind.from_pretrained(folder / str(number), output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        models.append(found.train())
    return Joint(*models)


def by_name(model: Model, generator: Model, params: dict) -> dict[str, np.ndarray]:
    """Our parameters, or their gradients, under the names that `Joint` has."""
    rules = family.load("electra").rules
    found = {}
    for name, of, part in zip(("discriminator", "generator"), (model, generator), split(params), strict=True):
        found |= {f"{name}.{key}": array for key, array in table.export(rules(of, {}), of, part).items()}
    return found

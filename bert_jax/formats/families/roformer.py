"""RoFormer (Su et al. 2021): RoFormerModel, RoFormerForMaskedLM. BERT with rotary positions of base 10000.

It stores its table of sines and cosines, which are no weights.
"""

import numpy as np

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError
from configuration.variants import use

PREFIX = "roformer"


def model(settings: Settings) -> config.Model:
    """config.json to ours.

    Raises:
      FormatError: values are turned too.
    """
    if settings.get("rotary_value"):
        raise FormatError("rotary_value=true in config.json is not supported; only false is")
    sizes = {"vocab_size": 50000, "max_position_embeddings": 1536} | settings
    width = sizes.get("hidden_size", 768)
    embedding = sizes.get("embedding_size") or width
    return family.common_model(sizes, positions=use("rotary"), embedding_width=0 if embedding == width else embedding)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    return family.common_settings(model, special_ids) | {"embedding_size": model.table_width, "rotary_value": False}


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names; the encoder has no pooler."""
    return [
        *family.embedding_rules(PREFIX),
        *family.dense("embeddings/projection", f"{PREFIX}.embeddings_project"),
        *family.layer_rules(PREFIX),
        *family.mlm_head_rules(),
    ]


def constants(model: config.Model) -> dict[str, np.ndarray]:
    """Sines, then cosines, of each position's angles: float32 [max_length, H]."""
    angles = np.arange(model.max_length)[:, None] / 10000 ** (2 * np.arange(model.head_size // 2) / model.head_size)
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    return {f"{PREFIX}.encoder.embed_positions.weight": table}


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied=family.pretraining_tied(PREFIX),
    architectures={frozenset({"mlm_head"}): "RoFormerForMaskedLM", frozenset(): "RoFormerModel"},
    preference=4,
    special_ids={"pad_token_id": 0},
    constants=constants,
)

"""RoBERTa (Liu et al. 2019): RobertaModel, RobertaForMaskedLM. Others have its rules under names of their own: `like`.

Its positions count from pad_token_id + 1, so that the first rows of its table are never read. Its head has the
erf GELU, whatever config.json says of the layers.
"""

from collections.abc import Collection

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError

PREFIX = "roberta"
PAD_ID = 1


def unused_rows(settings: Settings) -> int:
    """Rows of the position table before that of the first token."""
    return settings.get("pad_token_id", PAD_ID) + 1


def model(settings: Settings) -> config.Model:
    """config.json to ours, whose table has the rows that are read.

    Raises:
      FormatError: layers of another activation than the head's.
    """
    check_activation(settings)
    rows = settings.get("max_position_embeddings", 512)
    return family.common_model(settings, max_length=rows - unused_rows(settings))


def check_activation(settings: Settings) -> None:
    """Raises FormatError where the layers have another activation than the head, which is always of one kind."""
    activation = settings.get("hidden_act", "gelu")
    if family.ACTIVATIONS.get(activation) != "gelu":
        raise FormatError(
            f"hidden_act={activation!r} in config.json: the head of a RoBERTa uses 'gelu', and the layers must too"
        )


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    rows = model.max_length + unused_rows(special_ids)
    return family.common_settings(model, special_ids) | {"max_position_embeddings": rows}


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    return [
        *family.encoder_rules(PREFIX),
        family.embedding(
            "embeddings/position", f"{PREFIX}.embeddings.position_embeddings", unused_rows=unused_rows(settings)
        ),
        *mlm_head_rules(),
    ]


def mlm_head_rules() -> list[Rule]:
    """The masked-language-model head."""
    return [
        *family.dense("mlm_head/dense", "lm_head.dense"),
        *family.norm("mlm_head/norm", "lm_head.layer_norm"),
        Rule("mlm_head/bias", "lm_head.bias", vocabulary=True),
    ]


def tied(prefix: str) -> dict[str, str]:
    """What its decoder repeats."""
    return {
        "lm_head.decoder.weight": f"{prefix}.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }


def task_rules(heads: Collection[str]) -> list[Rule]:
    """The heads of tasks: that of texts has the pooler inside."""
    if "sequence_head" not in heads:
        return family.task_rules(heads)
    return [*family.dense("pooler", "classifier.dense"), *family.dense("sequence_head", "classifier.out_proj")]


def like(classes: str, model_type: str = "") -> family.Family:
    """The family whose classes have names that start so."""
    return family.Family(
        prefix=PREFIX,
        model=model,
        settings=settings,
        rules=rules,
        tied=tied(PREFIX),
        architectures={
            frozenset({"mlm_head"}): f"{classes}ForMaskedLM",
            frozenset(): f"{classes}Model",
            **family.task_architectures(classes),
        },
        task_rules=task_rules,
        special_ids={"pad_token_id": PAD_ID, "bos_token_id": 0, "eos_token_id": 2},
        model_type=model_type,
    )


FAMILY = like("Roberta")

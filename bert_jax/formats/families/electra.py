"""ELECTRA (Clark et al. 2020): ElectraModel, ElectraForPreTraining (discriminator), ElectraForMaskedLM (generator).

BERT without a pooler; its embeddings are factorised where they are not as wide as the layers. The generator's head has
the erf GELU, whatever config.json says of the layers. ElectraForSequenceClassification has no tanh in its head, as this
project's pooler has, and is neither read nor written.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError

PREFIX = "electra"
SIZES = {  # what config.json leaves out is that of the small one
    "embedding_size": 128,
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}


def model(settings: Settings) -> config.Model:
    """config.json to ours.

    Raises:
      FormatError: layers of another activation than the generator's head.
    """
    activation = settings.get("hidden_act", "gelu")
    if family.ACTIVATIONS.get(activation) != "gelu":
        raise FormatError(f"hidden_act={activation!r} of an electra: its head uses 'gelu', and the layers must too")
    sizes = SIZES | settings
    embedding = sizes["embedding_size"]
    return family.common_model(sizes, embedding_width=0 if embedding == sizes["hidden_size"] else embedding)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    return family.common_settings(model, special_ids) | {"embedding_size": model.table_width}


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    return [
        *family.embedding_rules(PREFIX),
        family.embedding("embeddings/position", f"{PREFIX}.embeddings.position_embeddings"),
        *family.dense("embeddings/projection", f"{PREFIX}.embeddings_project"),
        *family.layer_rules(PREFIX),
        *family.dense("discriminator_head/dense", "discriminator_predictions.dense"),
        *family.dense("discriminator_head/output", "discriminator_predictions.dense_prediction"),
        *family.dense("mlm_head/dense", "generator_predictions.dense"),
        *family.norm("mlm_head/norm", "generator_predictions.LayerNorm"),
        Rule("mlm_head/bias", "generator_lm_head.bias", vocabulary=True),
    ]


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied={"generator_lm_head.weight": f"{PREFIX}.embeddings.word_embeddings.weight"},
    architectures={
        frozenset({"discriminator_head"}): "ElectraForPreTraining",
        frozenset({"mlm_head"}): "ElectraForMaskedLM",
        frozenset(): "ElectraModel",
        frozenset({"token_head"}): "ElectraForTokenClassification",
        frozenset({"span_head"}): "ElectraForQuestionAnswering",
    },
    preference=6,
    special_ids={"pad_token_id": 0},
)

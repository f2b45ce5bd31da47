"""ALBERT (Lan et al. 2019): AlbertModel, AlbertForMaskedLM, AlbertForPreTraining.

Its layers share all their weights within each of `num_hidden_groups` stretches; as many groups as layers is no sharing.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError

PREFIX = "albert"
SIZES = {  # what config.json leaves out is that of the largest one
    "vocab_size": 30000,
    "embedding_size": 128,
    "hidden_size": 4096,
    "num_hidden_groups": 1,
    "num_attention_heads": 64,
    "intermediate_size": 16384,
    "hidden_act": "gelu_new",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def model(settings: Settings) -> config.Model:
    """config.json to ours.

    Raises:
      FormatError: several different layers within a group.
    """
    settings = SIZES | settings
    if settings.get("inner_group_num", 1) != 1:
        raise FormatError(f"inner_group_num={settings['inner_group_num']} in config.json is not supported; only 1 is")
    layers, groups = settings.get("num_hidden_layers", 12), settings["num_hidden_groups"]
    sharing = {} if groups == layers else {"sharing": "all", "groups": groups}
    return family.common_model(settings, embedding_width=settings["embedding_size"], **sharing)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    return family.common_settings(model, special_ids) | {
        "embedding_size": model.table_width,
        "num_hidden_groups": model.layers if model.sharing == "none" else model.groups,
        "inner_group_num": 1,
    }


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    layer = f"{PREFIX}.encoder.albert_layer_groups.{{layer}}.albert_layers.0"
    return [
        *family.embedding_rules(PREFIX),
        family.embedding("embeddings/position", f"{PREFIX}.embeddings.position_embeddings"),
        *family.dense("embeddings/projection", f"{PREFIX}.encoder.embedding_hidden_mapping_in"),
        *family.dense("layers/attention/query", f"{layer}.attention.query"),
        *family.dense("layers/attention/key", f"{layer}.attention.key"),
        *family.dense("layers/attention/value", f"{layer}.attention.value"),
        *family.dense("layers/attention/output", f"{layer}.attention.dense", inputs=2),
        *family.norm("layers/attention/norm", f"{layer}.attention.LayerNorm"),
        *family.dense("layers/mlp/up", f"{layer}.ffn"),
        *family.dense("layers/mlp/down", f"{layer}.ffn_output"),
        *family.norm("layers/mlp/norm", f"{layer}.full_layer_layer_norm"),
        *family.dense("pooler", f"{PREFIX}.pooler"),
        *family.dense("mlm_head/dense", "predictions.dense"),
        *family.norm("mlm_head/norm", "predictions.LayerNorm"),
        Rule("mlm_head/bias", "predictions.bias", vocabulary=True),
        *family.dense("pair_head", "sop_classifier.classifier"),
    ]


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied={
        "predictions.decoder.weight": f"{PREFIX}.embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    architectures={
        frozenset({"mlm_head", "pair_head"}): "AlbertForPreTraining",
        frozenset({"mlm_head"}): "AlbertForMaskedLM",
        frozenset(): "AlbertModel",
        **family.task_architectures("Albert"),
    },
    preference=5,
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
)

"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): DistilBertModel, DistilBertForMaskedLM. BERT without token types.

It has no pooler, names of its own in config.json, and 1e-12 in every LayerNorm. Its class for texts has a ReLU in place
of the pooler's tanh, which no head here has.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule

PREFIX = "distilbert"
NAMES = {  # what config.json calls the fields that other families call the same
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "hidden_size": "dim",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}


def model(settings: Settings) -> config.Model:
    """config.json to ours; what it leaves out is DistilBERT-base's."""
    settings = {"n_layers": 6} | settings
    renamed = {usual: settings[own] for usual, own in NAMES.items() if own in settings}
    return family.common_model(settings | renamed, token_types=0, norm_epsilon=1e-12)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    common = family.common_settings(model, special_ids)
    del common["type_vocab_size"], common["layer_norm_eps"]
    return {NAMES.get(name, name): value for name, value in common.items()} | {"sinusoidal_pos_embds": False}


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    layer = f"{PREFIX}.transformer.layer.{{layer}}"
    return [
        family.embedding("embeddings/word", f"{PREFIX}.embeddings.word_embeddings", vocabulary=True),
        family.embedding("embeddings/position", f"{PREFIX}.embeddings.position_embeddings"),
        *family.norm("embeddings/norm", f"{PREFIX}.embeddings.LayerNorm"),
        *family.dense("layers/attention/query", f"{layer}.attention.q_lin"),
        *family.dense("layers/attention/key", f"{layer}.attention.k_lin"),
        *family.dense("layers/attention/value", f"{layer}.attention.v_lin"),
        *family.dense("layers/attention/output", f"{layer}.attention.out_lin", inputs=2),
        *family.norm("layers/attention/norm", f"{layer}.sa_layer_norm"),
        *family.dense("layers/mlp/up", f"{layer}.ffn.lin1"),
        *family.dense("layers/mlp/down", f"{layer}.ffn.lin2"),
        *family.norm("layers/mlp/norm", f"{layer}.output_layer_norm"),
        *family.dense("mlm_head/dense", "vocab_transform"),
        *family.norm("mlm_head/norm", "vocab_layer_norm"),
        Rule("mlm_head/bias", "vocab_projector.bias", vocabulary=True),
    ]


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied={"vocab_projector.weight": f"{PREFIX}.embeddings.word_embeddings.weight"},
    architectures={
        frozenset({"mlm_head"}): "DistilBertForMaskedLM",
        frozenset(): "DistilBertModel",
        frozenset({"token_head"}): "DistilBertForTokenClassification",
        frozenset({"span_head"}): "DistilBertForQuestionAnswering",
    },
    preference=3,
    special_ids={"pad_token_id": 0},
)

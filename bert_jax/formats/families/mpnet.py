"""MPNet (Song et al. 2020, arXiv 2004.09297): MPNetModel, MPNetForMaskedLM.

RoBERTa's position table and heads, no token types, and biases by bucket of distances, which all layers share.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.families import roberta
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError
from configuration.variants import use

PREFIX = "mpnet"
BUCKETS = 32  # whatever config.json says, the class computes with so many
UNUSED_ROWS = roberta.PAD_ID + 1


def model(settings: Settings) -> config.Model:
    """config.json to ours.

    Raises:
      FormatError: layers of another activation than the head's, or another number of buckets.
    """
    roberta.check_activation(settings)
    if (buckets := settings.get("relative_attention_num_buckets", BUCKETS)) != BUCKETS:
        raise FormatError(f"relative_attention_num_buckets={buckets} in config.json is no MPNet: {BUCKETS} is")
    rows = settings.get("max_position_embeddings", 512)
    return family.common_model(
        settings, max_length=rows - UNUSED_ROWS, token_types=0, positions=use("bucketed", buckets=BUCKETS)
    )


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    common = family.common_settings(model, special_ids)
    del common["type_vocab_size"]
    rows = model.max_length + UNUSED_ROWS
    return common | {"max_position_embeddings": rows, "relative_attention_num_buckets": BUCKETS}


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    layer = f"{PREFIX}.encoder.layer.{{layer}}"
    positions = f"{PREFIX}.embeddings.position_embeddings"
    return [
        *family.embedding_rules(PREFIX),
        family.embedding("embeddings/position", positions, unused_rows=UNUSED_ROWS),
        Rule("embeddings/position/buckets", f"{PREFIX}.encoder.relative_attention_bias.weight", inputs=1),
        *family.dense("layers/attention/query", f"{layer}.attention.attn.q"),
        *family.dense("layers/attention/key", f"{layer}.attention.attn.k"),
        *family.dense("layers/attention/value", f"{layer}.attention.attn.v"),
        *family.dense("layers/attention/output", f"{layer}.attention.attn.o", inputs=2),
        *family.norm("layers/attention/norm", f"{layer}.attention.LayerNorm"),
        *family.dense("layers/mlp/up", f"{layer}.intermediate.dense"),
        *family.dense("layers/mlp/down", f"{layer}.output.dense"),
        *family.norm("layers/mlp/norm", f"{layer}.output.LayerNorm"),
        *family.dense("pooler", f"{PREFIX}.pooler.dense"),
        *roberta.mlm_head_rules(),
    ]


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied=roberta.tied(PREFIX),
    architectures={
        frozenset({"mlm_head"}): "MPNetForMaskedLM",
        frozenset(): "MPNetModel",
        **family.task_architectures("MPNet"),
    },
    task_rules=roberta.task_rules,
    preference=3,
    special_ids={"pad_token_id": roberta.PAD_ID, "bos_token_id": 0, "eos_token_id": 2},
)

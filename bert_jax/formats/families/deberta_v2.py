"""DeBERTa-v2 and v3 (He et al. 2020 and 2021, arXiv 2006.03654 and 2111.09543): DebertaV2Model, DebertaV2ForMaskedLM.

Disentangled attention, without a position table, a convolution (v2's xlarge) or factorised embeddings. The head of
masked language modelling is read under the names of its authors (`legacy` false) and of transformers (`legacy` true),
and written under the latter: the class computes the same with either. The classes of texts and of choices have a
pooler, whose activation must be tanh, as this project's is. v3's head of replaced tokens is not read.
"""

from collections.abc import Collection
from typing import Any

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError
from configuration.variants import Variant, use

PREFIX = "deberta"
SIZES = {  # what config.json leaves out is that of v2's xlarge
    "vocab_size": 128100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
    "layer_norm_eps": 1e-7,
}
ONLY: dict[str, tuple[Any, Any]] = {  # settings of which one value is supported: it, and what config.json leaves out
    "relative_attention": (True, False),
    "position_biased_input": (False, True),
    "conv_kernel_size": (0, 0),
    "z_steps": (0, 0),
}
TERMS = {"c2p": "content_to_position", "p2c": "position_to_content"}
WITH_POOLER = frozenset({"sequence_head", "choice_head"})
POOLED_CLASSES = ("DebertaV2ForSequenceClassification", "DebertaV2ForMultipleChoice")


def model(settings: Settings) -> config.Model:
    """config.json to ours.

    Raises:
      FormatError: an encoder or a pooler that this project does not have.
    """
    sizes = SIZES | settings
    for name, (wanted, left_out) in ONLY.items():
        require(settings, name, wanted, left_out)
    require(settings, "embedding_size", sizes["hidden_size"], sizes["hidden_size"])
    head_size = sizes["hidden_size"] // sizes["num_attention_heads"]
    require(settings, "attention_head_size", head_size, head_size)
    if set(settings.get("architectures") or []) & set(POOLED_CLASSES):
        require(settings, "pooler_hidden_act", "tanh", "gelu")
    types = settings.get("type_vocab_size", 0)
    return family.common_model(sizes, token_types=types, positions=positions(settings))


def require(settings: Settings, name: str, wanted: Any, left_out: Any) -> None:
    """Raises FormatError unless config.json has the wanted value; one that is missing or null means `left_out`."""
    found = left_out if settings.get(name) is None else settings[name]
    if found != wanted:
        raise FormatError(f"{name}={found!r} in config.json is not supported; only {wanted!r} is")


def positions(settings: Settings) -> Variant:
    """The scheme that config.json describes.

    Raises:
      FormatError: no terms of attention, or others than those of v2.
    """
    said = settings.get("pos_att_type") or []
    terms = [term.strip() for term in (said.lower().split("|") if isinstance(said, str) else said)]
    if not terms or set(terms) - TERMS.keys():
        raise FormatError(f"pos_att_type={said!r} in config.json must hold one or both of {', '.join(TERMS)}")
    buckets, distance = settings.get("position_buckets", -1), settings.get("max_relative_positions", -1)
    longest = settings.get("max_position_embeddings", config.Model.max_length)
    norms = [norm.strip() for norm in settings.get("norm_rel_ebd", "none").lower().split("|")]
    return use(
        "disentangled",
        buckets=max(0, buckets),
        max_distance=distance if distance >= 1 else longest,
        share_keys=settings.get("share_att_key", False),
        normalised="layer_norm" in norms,
        **{option: term in terms for term, option in TERMS.items()},
    )


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    options = family.plain(model.positions if model.positions.name == "disentangled" else use("disentangled"))
    return (
        family.common_settings(model, special_ids)
        | {name: wanted for name, (wanted, _) in ONLY.items() if name != "z_steps"}
        | {
            "position_buckets": options["buckets"] or -1,
            "max_relative_positions": options["max_distance"],
            "share_att_key": options["share_keys"],
            "norm_rel_ebd": "layer_norm" if options["normalised"] else "none",
            "pos_att_type": [term for term, option in TERMS.items() if options[option]],
            "legacy": True,
            "pooler_hidden_act": "tanh",
            "pooler_hidden_size": model.width,
        }
    )


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    layer = f"{PREFIX}.encoder.layer.{{layer}}"
    attention = f"{layer}.attention.self"
    return [
        *family.embedding_rules(PREFIX),
        family.embedding("embeddings/position", f"{PREFIX}.encoder.rel_embeddings"),
        *family.norm("embeddings/position/norm", f"{PREFIX}.encoder.LayerNorm"),
        *family.dense("layers/attention/query", f"{attention}.query_proj"),
        *family.dense("layers/attention/key", f"{attention}.key_proj"),
        *family.dense("layers/attention/value", f"{attention}.value_proj"),
        *family.dense("layers/attention/position/query", f"{attention}.pos_query_proj"),
        *family.dense("layers/attention/position/key", f"{attention}.pos_key_proj"),
        *family.dense("layers/attention/output", f"{layer}.attention.output.dense", inputs=2),
        *family.norm("layers/attention/norm", f"{layer}.attention.output.LayerNorm"),
        *family.dense("layers/mlp/up", f"{layer}.intermediate.dense"),
        *family.dense("layers/mlp/down", f"{layer}.output.dense"),
        *family.norm("layers/mlp/norm", f"{layer}.output.LayerNorm"),
        *family.mlm_head_rules(),
    ]


def task_rules(heads: Collection[str]) -> list[Rule]:
    """The heads of tasks; those of texts and of choices have the pooler beside them."""
    pooler = family.dense("pooler", "pooler.dense") if WITH_POOLER & set(heads) else []
    return [*pooler, *family.task_rules(heads)]


def authors_names() -> dict[str, str]:
    """The head's arrays under the names of the authors, and under those of the table."""
    ours, theirs = "cls.predictions", "lm_predictions.lm_head"
    arrays = [f"{part}.{kind}" for part in ("dense", "LayerNorm") for kind in ("weight", "bias")]
    return {f"{theirs}.{array}": f"{ours}.transform.{array}" for array in arrays} | {f"{theirs}.bias": f"{ours}.bias"}


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied=family.pretraining_tied(PREFIX) | authors_names(),
    architectures={
        frozenset({"mlm_head"}): "DebertaV2ForMaskedLM",
        frozenset(): "DebertaV2Model",
        **family.task_architectures("DebertaV2"),
    },
    task_rules=task_rules,
    preference=3,
    special_ids={"pad_token_id": 0},
    model_type="deberta-v2",
    unread=("mask_predictions.", f"{PREFIX}.embeddings.position_embeddings."),
)

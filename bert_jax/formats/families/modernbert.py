"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): ModernBertModel, ModernBertForMaskedLM.

Pre-LN, rotary positions, gated units, no token types. Attention is global in every third layer and within a window of
`local_attention` tokens in the others, whose rotary base is another. Its matrices hold queries, keys and values, or
gates and units, one below the other, and its rotary pairs are (m, m + H/2) where ours are neighbours.
"""

from typing import Any

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError
from configuration.variants import use

PREFIX = "model"
KINDS = ("full_attention", "sliding_attention")  # of layers: global, local
BIASES = ("attention_bias", "mlp_bias", "norm_bias", "classifier_bias")  # the last is that of the head's dense layer


def model(settings: Settings) -> config.Model:
    """config.json to ours; what it leaves out is ModernBERT-base's.

    Raises:
      FormatError: another pattern of windows, biases here and there, or two activations.
    """
    require("decoder_bias", settings.get("decoder_bias", True), True)
    biases = settings.get("attention_bias", False)
    for name in BIASES:
        require(name, settings.get(name, False), biases)
    activation = settings.get("hidden_activation", "gelu")
    require("classifier_activation", settings.get("classifier_activation", "gelu"), activation)
    base = {"vocab_size": 50368, "num_hidden_layers": 22, "intermediate_size": 1152, "max_position_embeddings": 8192}
    every = global_every(settings)
    window = 0 if every == 1 else int(settings.get("local_attention", 128)) // 2
    require("local layers with a window", window > 0, every != 1)
    bases = {"base": rotary_base(settings, "full_attention")}
    if window and (local := rotary_base(settings, "sliding_attention")) != bases["base"]:
        bases["local_base"] = local
    return family.common_model(
        base | settings | {"hidden_act": activation},
        token_types=0,
        window=window,
        global_every=every,
        positions=use("rotary", **bases),
        norm="pre",
        norm_epsilon=float(settings.get("norm_eps", 1e-5)),
        gated=True,
        biases=biases,
        dropout=float(settings.get("embedding_dropout", 0.0)),
        attention_dropout=float(settings.get("attention_dropout", 0.0)),
    )


def require(name: str, found: Any, wanted: Any) -> None:
    """Raises FormatError where config.json is of an encoder that this project lacks."""
    if found != wanted:
        raise FormatError(f"{name}={found!r} in the config.json of a modernbert: this project has {wanted!r} there")


def layer_types(layers: int, every: int) -> list[str]:
    """The kind of each layer: 0, k, 2k, … are global; k = 0: none is."""
    return [KINDS[every == 0 or layer % every > 0] for layer in range(layers)]


def global_every(settings: Settings) -> int:
    """How far apart global layers are; 1 where all are, 0 where none is.

    Raises:
      FormatError: the pattern is another.
    """
    layers, said = settings.get("num_hidden_layers", 22), settings.get("global_attn_every_n_layers", 3)
    found = settings.get("layer_types") or layer_types(layers, said)
    full = [layer for layer, kind in enumerate(found) if kind == KINDS[0]]
    between = full[1] if len(full) > 1 else max(2, layers)
    every = next((k for k in (1, said, 0, between) if layer_types(layers, k) == list(found)), None)
    if every is None:
        raise FormatError(
            f"layer_types={found} in the config.json of a modernbert: of the layers 0, k, 2k, … must be full"
        )
    return every


def rotary_base(settings: Settings, kind: str) -> float:
    """The rotary base of one kind of layer; older files have a separate field.

    Raises:
      FormatError: angles that are not plain powers of it.
    """
    said = (settings.get("rope_parameters") or {}).get(kind) or {}
    require("rope_scaling", settings.get("rope_scaling"), None)
    require("rope_type", said.get("rope_type", "default"), "default")
    usual: float = settings.get("global_rope_theta", 160_000.0)
    if kind == "sliding_attention":  # null is as the global ones
        usual = settings.get("local_rope_theta", 10_000.0) or usual
    return float(said.get("rope_theta", usual))


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json, in the words of new and of older versions."""
    options = family.plain(model.positions)
    base = options.get("base", 10_000.0)
    local_base = options.get("local_base") or base
    common = family.common_settings(model, special_ids)
    activation = common.pop("hidden_act")
    for name in ("type_vocab_size", "layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"):
        del common[name]
    return common | {
        "cls_token_id": special_ids["bos_token_id"],
        "sep_token_id": special_ids["eos_token_id"],
        "hidden_activation": activation,
        "classifier_activation": activation,
        "norm_eps": model.norm_epsilon,
        "embedding_dropout": model.dropout,
        "mlp_dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        **dict.fromkeys(BIASES, model.biases),
        "decoder_bias": True,
        "local_attention": 2 * model.window or 128,
        "layer_types": layer_types(model.layers, model.global_every),
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta}
            for kind, theta in zip(KINDS, (base, local_base), strict=True)
        },
        "global_attn_every_n_layers": model.global_every,
        "global_rope_theta": base,
        "local_rope_theta": local_base,
    }


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    layer = f"{PREFIX}.layers.{{layer}}"
    first = f"{PREFIX}.embeddings.norm"
    return [
        family.embedding("embeddings/word", f"{PREFIX}.embeddings.tok_embeddings", vocabulary=True),
        Rule("layers/attention/norm/scale", f"{layer}.attn_norm.weight", first=f"{first}.weight"),
        Rule("layers/attention/norm/bias", f"{layer}.attn_norm.bias", first=f"{first}.bias"),
        *family.dense("layers/attention/query", f"{layer}.attn.Wqkv", part=(0, 3), halves=True),
        *family.dense("layers/attention/key", f"{layer}.attn.Wqkv", part=(1, 3), halves=True),
        *family.dense("layers/attention/value", f"{layer}.attn.Wqkv", part=(2, 3)),
        *family.dense("layers/attention/output", f"{layer}.attn.Wo", inputs=2),
        *family.norm("layers/mlp/norm", f"{layer}.mlp_norm"),
        *family.dense("layers/mlp/gate", f"{layer}.mlp.Wi", part=(0, 2)),
        *family.dense("layers/mlp/up", f"{layer}.mlp.Wi", part=(1, 2)),
        *family.dense("layers/mlp/down", f"{layer}.mlp.Wo"),
        *family.norm("final_norm", f"{PREFIX}.final_norm"),
        *family.dense("mlm_head/dense", "head.dense"),
        *family.norm("mlm_head/norm", "head.norm"),
        Rule("mlm_head/bias", "decoder.bias", vocabulary=True),
    ]


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=rules,
    tied={"decoder.weight": f"{PREFIX}.embeddings.tok_embeddings.weight"},
    architectures={frozenset({"mlm_head"}): "ModernBertForMaskedLM", frozenset(): "ModernBertModel"},
    preference=3,
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
)

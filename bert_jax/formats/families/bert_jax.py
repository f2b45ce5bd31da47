"""Every encoder of this project, also those that no class of the library transformers expresses.

The folder carries a modelling file, which opens with trust_remote_code=True.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from configuration.foreign import FormatError
from configuration.variants import use

CODE = "modeling_bert_jax"
POSITIONS = ("absolute", "rotary", "functional_relative")
CLASSES = {
    "AutoConfig": "BertJaxConfig",
    "AutoModel": "BertJaxModel",
    "AutoModelForMaskedLM": "BertJaxForMaskedLM",
    "AutoModelForPreTraining": "BertJaxForPreTraining",
}


def model(settings: Settings) -> config.Model:
    """config.json to ours."""
    positions = settings["positions"]
    return family.common_model(
        settings,
        token_types=settings["type_vocab_size"],
        positions=use(positions["name"], **{name: value for name, value in positions.items() if name != "name"}),
        embedding_width=settings["embedding_size"],
        norm=settings["norm"],
        gated=settings["gated"],
        biases=settings["biases"],
        sharing=settings["sharing"],
        groups=settings["groups"],
        window=settings.get("window", 0),
        global_every=settings.get("global_every", 1),
    )


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json.

    Raises:
      FormatError: positions that the modelling file does not know.
    """
    positions = family.plain(model.positions)
    if positions["name"] not in POSITIONS:
        raise FormatError(f"the bert_jax layout has no positions {positions['name']!r}, only {', '.join(POSITIONS)}")
    return family.common_settings(model, special_ids) | {
        "positions": positions,
        "embedding_size": model.embedding_width,
        "norm": model.norm,
        "gated": model.gated,
        "biases": model.biases,
        "sharing": model.sharing,
        "groups": model.groups,
        "window": model.window,
        "global_every": model.global_every,
        "auto_map": {auto: f"{CODE}.{name}" for auto, name in CLASSES.items()},
    }


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    return [
        family.embedding("embeddings/word", "encoder.word", vocabulary=True),
        family.embedding("embeddings/position", "encoder.position"),
        family.embedding("embeddings/token_type", "encoder.token_type"),
        *family.norm("embeddings/norm", "encoder.norm"),
        *family.dense("embeddings/projection", "encoder.projection"),
        *(
            rule
            for name in ("query", "key", "value")
            for rule in family.dense(f"layers/attention/{name}", f"encoder.attention.{{layer}}.{name}")
        ),
        *family.dense("layers/attention/output", "encoder.attention.{layer}.output", inputs=2),
        *family.norm("layers/attention/norm", "encoder.attention.{layer}.norm"),
        *(
            rule
            for name in ("up", "gate", "down")
            for rule in family.dense(f"layers/mlp/{name}", f"encoder.mlp.{{layer}}.{name}")
        ),
        *family.norm("layers/mlp/norm", "encoder.mlp.{layer}.norm"),
        *family.norm("final_norm", "encoder.final_norm"),
        *family.dense("pooler", "encoder.pooler"),
        *family.dense("mlm_head/dense", "mlm_head.dense"),
        *family.norm("mlm_head/norm", "mlm_head.norm"),
        Rule("mlm_head/bias", "mlm_head.bias", vocabulary=True),
        *family.dense("pair_head", "pair_head"),
    ]


FAMILY = family.Family(
    prefix="encoder",
    model=model,
    settings=settings,
    rules=rules,
    tied={},
    architectures={
        frozenset({"mlm_head", "pair_head"}): "BertJaxForPreTraining",
        frozenset({"mlm_head"}): "BertJaxForMaskedLM",
        frozenset(): "BertJaxModel",
    },
    preference=1,
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    code=(f"{CODE}.py",),
    heads=lambda parts: {"pooler": "pooler" in parts},
)

"""Every encoder of this project, also those that no class of the library transformers expresses.

The folder carries modelling files, which open with trust_remote_code=True.
"""

from collections.abc import Collection
from pathlib import Path

from bert_jax import config
from bert_jax.formats import family, table
from bert_jax.formats.family import Settings
from bert_jax.formats.table import Rule
from bert_jax.modeling import bert
from configuration import variants
from configuration.foreign import FormatError
from configuration.variants import use

CODE, LAYERS = "modeling_bert_jax", "modeling_bert_jax_layers"
POSITIONS = ("absolute", "rotary", "functional_relative")  # that the modelling files have
OWN = "own_positions"  # the file of a scheme that it has not
CLASSES = {
    "AutoConfig": "BertJaxConfig",
    "AutoModel": "BertJaxModel",
    "AutoModelForMaskedLM": "BertJaxForMaskedLM",
    "AutoModelForPreTraining": "BertJaxForPreTraining",
    "AutoModelForSequenceClassification": "BertJaxForSequenceClassification",
    "AutoModelForTokenClassification": "BertJaxForTokenClassification",
    "AutoModelForQuestionAnswering": "BertJaxForQuestionAnswering",
    "AutoModelForMultipleChoice": "BertJaxForMultipleChoice",
}
DETECTION = "BertJaxForReplacedTokenDetection"


def model(settings: Settings) -> config.Model:
    """config.json to ours."""
    positions = settings["positions"]
    return family.common_model(
        settings,
        token_types=settings["type_vocab_size"],
        task_types=settings.get("task_type_vocab_size", 0),
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
      FormatError: positions that the modelling files do not know.
    """
    positions = family.plain(model.positions)
    own_positions(model)
    return family.common_settings(model, special_ids) | {
        "task_type_vocab_size": model.task_types,
        "positions": positions,
        "embedding_size": model.embedding_width,
        "norm": model.norm,
        "gated": model.gated,
        "biases": model.biases,
        "sharing": model.sharing,
        "groups": model.groups,
        "window": model.window,
        "global_every": model.global_every,
    }


def heads(parts: Collection[str]) -> Settings:
    """What config.json says of the heads that there are."""
    detects = {"AutoModelForPreTraining": DETECTION} if "discriminator_head" in parts else {}
    classes = {auto: f"{CODE}.{name}" for auto, name in (CLASSES | detects).items()}
    return {"pooler": "pooler" in parts, "auto_map": classes}


def own_positions(model: config.Model) -> Path | None:
    """The PyTorch lines of a scheme that is not in the modelling files: its `TORCH`, None where they are not needed.

    They define a class `Positions`, made from the configuration once a layer, whose parameters have the names of the
    scheme's own, and which gives what is added to the scaled scores of q and k [B, N, L, H].

    Raises:
      FormatError: the scheme has none.
    """
    name = model.positions.name
    if name in POSITIONS:
        return None
    found = getattr(variants.module("bert_jax.modeling.positions", name), "TORCH", None)
    if found is None:
        raise FormatError(
            f"the bert_jax layout has the positions {', '.join(POSITIONS)}; {name!r} ships no lines for PyTorch (TORCH)"
        )
    return Path(found)


def own_code(model: config.Model) -> dict[str, str]:
    """The file of the layers, which imports the scheme's own lines, and these."""
    lines = own_positions(model)
    if lines is None:
        return {}
    code = (Path(__file__).parents[1] / "code" / f"{LAYERS}.py").read_text(encoding="utf-8")
    slot = next(line for line in code.splitlines() if line.startswith("OwnPositions = None"))
    plain = code.replace(slot, f"from .{OWN} import Positions as OwnPositions  # noqa: E402")
    return {f"{LAYERS}.py": plain, f"{OWN}.py": lines.read_text(encoding="utf-8")}


def own_rules(model: config.Model) -> list[Rule]:
    """The names of a scheme's own parameters in each layer: as they are."""
    if model.positions.name in POSITIONS:
        return []
    attention = bert.abstract_params(model)["layers"]["attention"].get("position", {})
    theirs = lambda path: f"encoder.attention.{{layer}}.position.{path.replace('/', '.')}"
    return [
        Rule(f"layers/attention/position/{path}", theirs(path), inputs=int(x.ndim > 2))
        for path, x in table.flatten(attention)
    ]


def rules(model: config.Model, settings: Settings) -> list[Rule]:
    """The table of names."""
    return [
        family.embedding("embeddings/word", "encoder.word", vocabulary=True),
        family.embedding("embeddings/position", "encoder.position"),
        family.embedding("embeddings/token_type", "encoder.token_type"),
        family.embedding("embeddings/task_type", "encoder.task_type"),
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
        *own_rules(model),
        *family.dense("pair_head", "pair_head"),
        *family.dense("discriminator_head/dense", "discriminator_head.dense"),
        *family.dense("discriminator_head/output", "discriminator_head.output"),
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
        frozenset({"discriminator_head"}): DETECTION,
        frozenset(): "BertJaxModel",
        **family.task_architectures("BertJax"),
    },
    preference=1,
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    code=(f"{CODE}.py", f"{LAYERS}.py"),
    own_code=own_code,
    heads=heads,
)

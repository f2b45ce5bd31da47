"""NEZHA (Wei et al. 2019): NezhaModel, NezhaForMaskedLM, NezhaForPreTraining, NezhaForNextSentencePrediction.

It has no position table: a sinusoid of distances, clipped to `max_relative_position`. The library transformers had it
until 4.57; for newer ones the folder carries a modelling file, which opens with trust_remote_code=True and which also
takes unclipped distances (`max_relative_position` null), where 4.57 fails.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from configuration.variants import use

PREFIX = "nezha"
CODE = "modeling_nezha"
CLASSES = {
    "AutoConfig": "NezhaConfig",
    "AutoModel": "NezhaModel",
    "AutoModelForMaskedLM": "NezhaForMaskedLM",
    "AutoModelForPreTraining": "NezhaForPreTraining",
}


def model(settings: Settings) -> config.Model:
    """config.json to ours."""
    positions = use("functional_relative", max_distance=settings.get("max_relative_position", 64) or 0)
    return family.common_model(settings, positions=positions)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    return family.common_settings(model, special_ids) | {
        "max_relative_position": family.plain(model.positions).get("max_distance") or None,
        "auto_map": {auto: f"{CODE}.{name}" for auto, name in CLASSES.items()},
    }


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=lambda model, settings: [*family.encoder_rules(PREFIX), *family.pretraining_head_rules()],
    tied=family.pretraining_tied(PREFIX),
    architectures=family.pretraining_architectures("Nezha"),
    preference=2,
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    code=(f"{CODE}.py",),
)

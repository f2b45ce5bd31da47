"""NEZHA (Wei et al. 2019) as transformers had it until 4.57: NezhaModel, NezhaForMaskedLM, NezhaForPreTraining.

It has no position table: distances are clipped to `max_relative_position` and looked up in a sinusoid.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings
from bert_jax.formats.table import FormatError
from bert_jax.variants import use

PREFIX = "nezha"


def model(settings: Settings) -> config.Model:
    """config.json to ours."""
    positions = use("functional_relative", max_distance=settings.get("max_relative_position", 64))
    return family.common_model(settings, positions=positions)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json.

    Raises:
      FormatError: positions that NEZHA does not have.
    """
    positions = family.plain(model.positions)
    if positions["name"] != "functional_relative" or positions["max_distance"] == 0:
        raise FormatError(
            f"the nezha layout cannot express model.positions={positions!r}: NEZHA clips its relative positions "
            "(functional_relative with max_distance above 0)"
        )
    return family.common_settings(model, special_ids) | {"max_relative_position": positions["max_distance"]}


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=lambda model, settings: [*family.encoder_rules(PREFIX), *family.pretraining_head_rules()],
    tied=family.pretraining_tied(PREFIX),
    architectures=family.pretraining_architectures("Nezha"),
    special_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
)

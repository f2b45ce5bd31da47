"""ERNIE (Sun et al. 2019, arXiv 1904.09223 and 1907.12412): ErnieModel, ErnieForMaskedLM, ErnieForPreTraining.

BERT with other names; later versions add an embedding of the task, which is task 0 where a batch does not say.
"""

from bert_jax import config
from bert_jax.formats import family
from bert_jax.formats.family import Settings

PREFIX = "ernie"


def model(settings: Settings) -> config.Model:
    """config.json to ours."""
    tasks = settings.get("task_type_vocab_size", 3) if settings.get("use_task_id", False) else 0
    return family.common_model(settings, task_types=tasks)


def settings(model: config.Model, special_ids: Settings) -> Settings:
    """Ours to config.json."""
    return family.common_settings(model, special_ids) | {
        "use_task_id": model.task_types > 0,
        "task_type_vocab_size": model.task_types or 3,
    }


FAMILY = family.Family(
    prefix=PREFIX,
    model=model,
    settings=settings,
    rules=lambda model, settings: [
        *family.encoder_rules(PREFIX),
        family.embedding("embeddings/position", f"{PREFIX}.embeddings.position_embeddings"),
        family.embedding("embeddings/task_type", f"{PREFIX}.embeddings.task_type_embeddings"),
        *family.pretraining_head_rules(),
    ],
    tied=family.pretraining_tied(PREFIX),
    architectures=family.pretraining_architectures("Ernie"),
    preference=3,
    special_ids={"pad_token_id": 0},
)

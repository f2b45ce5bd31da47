"""SimCSE (Gao et al. 2021, arXiv 2104.08821).

Unsupervised (section 3), the two texts of an example are the same one under different dropout, and a dense layer with
tanh stands between pooling and loss in training only (section 6.3). Supervised (section 4), they are a premise, what it
entails, and what contradicts it. Departs from the paper where a batch has a text twice: as multiple_negatives.py does.
"""

import jax

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics, multiple_negatives
from bert_jax.modeling import heads
from bert_jax.modeling.heads import pooler
from bert_jax.modeling.parts import Parts
from configuration.variants import ConfigError


def parts(model: Model, *, projection: bool = False) -> Parts:
    """The dense layer of the projection, BERT's pooler."""
    return heads.parts(model, "pooler") if projection else {}


def build(
    model: Model, *, temperature: float = 0.05, projection: bool = False, hard_negative_weight: float = 1.0
) -> Loss:
    """The loss of two texts, or of three.

    Args:
      temperature: τ, by which cosines are divided.
      projection: the dense layer in training; published: unsupervised with it, and vectors read without.
      hard_negative_weight: α of section 4, of an anchor's own contradiction.
    """
    if not temperature > 0:
        raise ConfigError(f"simcse.temperature is {temperature}; it must be a number above 0")
    contrast = multiple_negatives.build(model, scale=1 / temperature, hard_negative_weight=hard_negative_weight)

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """As multiple_negatives.py's."""
        if projection:
            vectors = pooler.transform(model, params, vectors)
        return contrast.value(params, vectors.astype("float32"), batch)

    return Loss(value, (2, 3), contrast.needs)

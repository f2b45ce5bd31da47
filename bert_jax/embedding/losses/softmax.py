"""Classification of a pair: softmax over (u, v, |u − v|) (Reimers and Gurevych 2019, arXiv 1908.10084, section 3)."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.embedding.losses import Batch, Loss, Metrics
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Parts, of_module
from configuration.variants import ConfigError


def parts(model: Model, *, classes: int = 3, poolings: int = 1) -> Parts:
    """The classifier."""
    return {"pair_classifier": of_module(_classifier(classes, poolings), model)}


def build(model: Model, *, classes: int = 3, poolings: int = 1) -> Loss:
    """The loss of two texts; needs `labels` int [B].

    Args:
      classes: of the labels.
      poolings: how many are concatenated in a vector.
    """
    if classes < 2:
        raise ConfigError(f"softmax.classes is {classes}; it must be at least 2")
    module = _classifier(classes, poolings)

    def value(params: dict, vectors: jax.Array, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Cross-entropy, and the accuracy."""
        u, v = vectors[:, 0], vectors[:, 1]
        features = jnp.concatenate([u, v, jnp.abs(u - v)], axis=-1)
        logits = bind(module, model, params["pair_classifier"])(features).astype(jnp.float32)
        right = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["labels"][:, None], axis=-1)[:, 0]
        weights = batch["example_weights"]
        correct = logits.argmax(-1) == batch["labels"]
        return -(right * weights).sum(), {"accuracy": (correct * weights).sum()}

    return Loss(value, (2,), ("labels",))


def _classifier(classes: int, poolings: int) -> Any:
    """The linear layer from 3 D to the classes; cached by its arguments, since `bind` is cached by the object."""
    if (classes, poolings) not in _CLASSIFIERS:

        def make(model: Model, rngs: nnx.Rngs) -> Dense:
            return Dense((3 * poolings * model.width, classes), ("embed", None), model, rngs)

        _CLASSIFIERS[classes, poolings] = make
    return _CLASSIFIERS[classes, poolings]


_CLASSIFIERS: dict[tuple[int, int], Any] = {}

"""Layer-wise learning-rate decay and frozen layers for a pretrained encoder."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import Config
from bert_jax.modeling.parts import STACKED
from configuration.variants import ConfigError


def check(config: Config) -> None:
    """Raises ConfigError for more layers than the model has, or layers that share weights but are to learn apart."""
    transfer, model = config.transfer, config.model
    for name in ("frozen_layers", "fresh_layers"):
        if getattr(transfer, name) > model.layers:
            raise ConfigError(
                f"config.transfer.{name} is {getattr(transfer, name)}; the model has {model.layers} layers"
            )
    apart = transfer.layer_decay < 1 or transfer.frozen_layers or transfer.fresh_layers
    if apart and model.sharing != "none":
        raise ConfigError(
            f"config.transfer is {transfer}, but the layers share weights (config.model.sharing={model.sharing!r}): "
            "leave it at its defaults"
        )
    if transfer.fresh_layers and not config.init_from:
        raise ConfigError("config.transfer.fresh_layers is for an encoder that is given: set config.init_from")


def factors(config: Config, params: Any) -> Any:
    """Factors of the learning rate for each array of `params`: [n, 1, …] for the encoder's layers, [] for others.

    The highest layer has one power of the decay, the embeddings have n + 1. ELECTRA's code has one more for both.
    """
    transfer, layers = config.transfer, config.model.layers
    number = jnp.arange(layers)
    of_layers = transfer.layer_decay ** (layers - number) * (number >= transfer.frozen_layers)
    below = transfer.layer_decay ** (layers + 1) * (not transfer.frozen_layers)

    def factor(path: Any, x: Any) -> Any:
        name = path[0].key
        if name == STACKED:
            return of_layers.reshape(-1, *[1] * (x.ndim - 1)).astype(jnp.float32)
        return jnp.float32(below if name == "embeddings" else 1.0)

    return jax.tree_util.tree_map_with_path(factor, params)


def wrap(optimizer: optax.GradientTransformation, config: Config) -> optax.GradientTransformation:
    """The optimizer with each array's update, decay too, times its factor."""
    if config.transfer.layer_decay == 1 and not config.transfer.frozen_layers:
        return optimizer

    def update(grads: Any, state: Any, params: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return jax.tree.map(jnp.multiply, updates, factors(config, params)), state

    return optax.GradientTransformation(optimizer.init, update)


def with_fresh_layers(config: Config, fresh: Any, given: Any) -> Any:
    """The stacked layers of an imported encoder, the highest of them fresh."""
    kept = config.model.layers - config.transfer.fresh_layers
    return jax.tree.map(lambda new, old: jnp.concatenate([old[:kept], new[kept:]]), fresh, given)

"""From an encoder's hidden states to a text's vector: pooling, dense layers, normalisation."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.embedding.pooling import Pooling, make, normalise
from configuration.variants import ConfigError

ACTIVATIONS = {
    "identity": lambda x: x,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
}


class Dense(NamedTuple):
    """activation(x · kernel + bias); whitening is one."""

    kernel: np.ndarray  # float32 [D, E]
    bias: np.ndarray | None = None  # float32 [E]
    activation: str = "identity"  # of ACTIVATIONS
    about: Mapping[str, object] = {}  # where it comes from, such as the texts that a whitening was fit on


class Normalise(NamedTuple):
    """To length 1."""


Step = Dense | Normalise


@dataclasses.dataclass(frozen=True)
class Readout:
    """From hidden states to vectors."""

    pooling: Pooling = dataclasses.field(default_factory=Pooling)
    steps: tuple[Step, ...] = (Normalise(),)  # after pooling, in this order
    max_length: int = 0  # tokens that a text is cut to, special tokens included; 0 for as many as the encoder takes
    lowercase: bool = False  # texts are lower-cased before they are tokenized
    prompt: str = ""  # put before each text

    def normalised(self, wanted: bool) -> "Readout":
        """With or without normalisation at the end."""
        steps = self.steps[:-1] if self.steps and isinstance(self.steps[-1], Normalise) else self.steps
        return dataclasses.replace(self, steps=(*steps, Normalise()) if wanted else steps)

    def truncated(self, model: Model, dimensions: int) -> "Readout":
        """The leading dimensions alone, before the final normalisation (Kusupati et al. 2022, arXiv 2205.13147).

        Raises:
          ConfigError: there are fewer.
        """
        width = self.width(model)
        if not 0 < dimensions <= width:
            raise ConfigError(f"dimensions is {dimensions}; it must be between 1 and the vectors' {width}")
        first = Dense(np.eye(width, dimensions, dtype=np.float32))
        bare = self.normalised(False)
        return dataclasses.replace(bare, steps=(*bare.steps, first)).normalised(len(bare.steps) < len(self.steps))

    def width(self, model: Model) -> int:
        """Numbers of a vector."""
        dense = [step.kernel.shape[1] for step in self.steps if isinstance(step, Dense)]
        return dense[-1] if dense else model.width * len(self.pooling.modes)


def chosen(
    stored: Readout | None,
    model: Model,
    pooling: str = "",
    normalised: bool | None = None,
    layer_weights: tuple[float, ...] = (),
    dimensions: int = 0,
) -> Readout:
    """The readout in an encoder's folder (by default mean pooling and normalisation), with changes.

    Args:
      pooling: as `pooling.make` takes it; empty for the folder's own. Another one than the folder's drops its dense
        layers, which are made for the folder's.
      normalised: None for the folder's own.
      layer_weights: as `pooling.make` takes them.
      dimensions: leading dimensions to keep; 0 for all.

    Raises:
      ConfigError: an unknown pooling, or more dimensions than there are.
    """
    readout = stored or Readout()
    if pooling or layer_weights:
        wanted = make(pooling or "mean", model, layer_weights)
        if wanted != readout.pooling:
            readout = dataclasses.replace(readout, pooling=wanted, steps=(Normalise(),))
    readout = readout if normalised is None else readout.normalised(normalised)
    return readout.truncated(model, dimensions) if dimensions else readout


def apply(steps: tuple[Step, ...], x: jax.Array) -> jax.Array:
    """Pooled vectors float32 [..., D] through the steps."""
    for step in steps:
        if isinstance(step, Normalise):
            x = normalise(x)
        else:
            x = jnp.matmul(x, step.kernel, precision="highest")
            x = ACTIVATIONS[step.activation](x if step.bias is None else x + step.bias)
    return x

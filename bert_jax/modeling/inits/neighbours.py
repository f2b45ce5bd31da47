"""Attention that looks at the neighbours from the first step.

A masked language model with random weights stays on the unigram plateau until attention has learnt to look at the
neighbours of a mask, which takes most of a short run. Here the position table starts as sinusoids
in some columns of its own, and the queries and keys of each head as rotations of them, so that head n looks
`offsets[n]` tokens away; values and outputs start large enough to carry what is found, and leave the position columns
alone. Functional relative positions need the queries' biases only, rotary ones those of queries and keys. Everything is
trained all the same, and the model is the plain one: only its starting point differs.

The idea that attention should start with structure is that of mimetic initialisation (Trockman and Kolter 2023, arXiv
2305.09828); the sinusoids are those of Vaswani et al. 2017 (section 3.5) with linear instead of geometric frequencies,
whose sum peaks at one offset.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from configuration.variants import ConfigError


def build(
    *,
    offsets: tuple[int, ...] = (-1, 1, -2, 2),
    columns: int = 64,
    amplitude: float = 0.04,
    peak: float = 6.0,
    fade: float = 0.6,
) -> Callable[[Model, dict, jax.Array], dict]:
    """The start.

    Args:
      offsets: how far each head looks, in tokens (negative: to the left); heads beyond take them in turn again.
      columns: of the width, set aside for positions.
      amplitude: of the sinusoids in the position table, beside word embeddings of standard deviation `init_std`.
      peak: attention score at the offset, in nat above that of an unrelated place.
      fade: how much weaker positions are expected to be in each further layer; scores are scaled up for it.
    """

    def start(model: Model, params: dict, key: jax.Array) -> dict:
        value_key, output_key = jax.random.split(key)
        attention = jax.tree.map(jnp.shape, params["layers"]["attention"])
        large = model.width**-0.5
        new = {
            "layers/attention/value/kernel": large * jax.random.normal(value_key, attention["value"]["kernel"]),
            "layers/attention/output/kernel": large * jax.random.normal(output_key, attention["output"]["kernel"]),
        }
        check(model, columns)
        stored = attention["norm"]["scale"][0]
        gain = peak * model.head_size**0.5 / (model.head_size / 2)  # of the score that all pairs make together
        if model.positions.name == "functional_relative":
            sines, cosines = angles(model, offsets, model.positions.options.get("max_distance", 0))
            new["layers/attention/query/bias"] = repeated(stored, gain * interleaved(sines, cosines))
        elif model.positions.name == "rotary":
            firsts = range(0, model.layers, model.layers // stored)  # of each group that shares its attention
            turns = [angles(model, offsets, base=rotary_base(model, layer)) for layer in firsts]
            queries = jnp.stack([interleaved(cosines, sines) for sines, cosines in turns])
            still = interleaved(np.ones_like(turns[0][0]), np.zeros_like(turns[0][0]))
            new["layers/attention/query/bias"] = (gain**0.5 * queries).astype(jnp.float32)
            new["layers/attention/key/bias"] = repeated(stored, gain**0.5 * still)
        elif model.positions.name == "absolute":
            query, keys = queries_and_keys(model, offsets, columns, amplitude, peak, fade)
            beside = ((0, 0), (0, model.width - columns))
            new |= {
                "embeddings/word/embedding": params["embeddings"]["word"]["embedding"].at[:, :columns].set(0),
                "embeddings/position/embedding": jnp.pad(amplitude * sinusoids(model.max_length, columns), beside),
                "layers/attention/query/kernel": jnp.asarray(query),
                "layers/attention/key/kernel": jnp.asarray(keys),
                "layers/attention/value/kernel": new["layers/attention/value/kernel"].at[:, :columns].set(0),
                "layers/attention/output/kernel": new["layers/attention/output/kernel"].at[..., :columns].set(0),
            }
            if model.token_types:
                new["embeddings/token_type/embedding"] = jnp.zeros((model.token_types, model.width))
            if model.task_types:
                new["embeddings/task_type/embedding"] = jnp.zeros((model.task_types, model.width))
        else:
            raise ConfigError(
                f"config.model.init is 'neighbours', which does not support {model.positions.name!r} positions: "
                "set --config.model.init=normal"
            )
        return replaced(params, new)

    return start


def check(model: Model, columns: int) -> None:
    """Raises ConfigError where there is no room for what starts here: columns in the width, biases, position table."""
    if model.positions.name != "absolute":
        if not model.biases:
            raise ConfigError(
                f"config.model.init is 'neighbours', which with {model.positions.name} positions starts the biases of "
                "attention: set --config.model.biases=true or --config.model.init=normal"
            )
        return
    if model.embedding_width or model.sharing in ("all", "attention"):
        raise ConfigError(
            "config.model.init is 'neighbours', which with absolute positions supports neither factorised embeddings "
            "nor shared attention: set --config.model.init=normal"
        )
    if columns % 2 or not 2 <= columns < model.width:
        raise ConfigError(
            f"config.model.init.columns is {columns}; it must be even, and below config.model.width={model.width}"
        )


def frequencies(number: int, length: int) -> np.ndarray:
    """[M] radians per token, over the half circle: Σ cos(w d) peaks at d = 0.

    Evenly spread ones would peak again 2M tokens further; where rows are longer than that, they are bent.
    """
    bend = 1.0 if length <= 2 * number else 1.3
    return np.pi * ((np.arange(number) + 0.5) / number) ** bend


def sinusoids(length: int, columns: int) -> np.ndarray:
    """float32 [length, columns]: cosines, then sines."""
    angles = np.arange(length)[:, None] * frequencies(columns // 2, length)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def queries_and_keys(
    model: Model, offsets: tuple[int, ...], columns: int, amplitude: float, peak: float, fade: float
) -> tuple[np.ndarray, np.ndarray]:
    """Kernels float32 [n, D, N, H] that read the position columns: keys as they are, queries turned by the offset."""
    width, size, number = model.width, model.head_size, columns // 2
    used = np.unique(np.linspace(0, number - 1, min(size // 2, number)).round().astype(int))
    turn = frequencies(number, model.max_length)[used]
    slots = np.arange(len(used))
    query, keys = (np.zeros((model.layers, width, model.heads, size), np.float32) for _ in range(2))
    # After the embeddings' LayerNorm the sinusoids have this squared amplitude.
    variance = model.init_std**2 * (1 - columns / width) + amplitude**2 / 2 * columns / width
    squared = amplitude**2 / variance
    for layer in range(model.layers):
        gain = np.sqrt(peak * np.sqrt(size) / (len(used) * squared * fade**layer))
        keys[layer, used, :, slots] = gain
        keys[layer, number + used, :, len(used) + slots] = gain
        for head in range(model.heads):
            offset = offsets[head % len(offsets)]
            cosine, sine = gain * np.cos(turn * offset), gain * np.sin(turn * offset)
            query[layer, used, head, slots] = cosine
            query[layer, number + used, head, slots] = -sine
            query[layer, used, head, len(used) + slots] = sine
            query[layer, number + used, head, len(used) + slots] = cosine
    return query, keys


def rotary_base(model: Model, layer: int) -> float:
    """The base of a layer's rotary positions."""
    options = model.positions.options
    return (model.is_local(layer) and options.get("local_base")) or options.get("base", 10000.0)


def angles(
    model: Model, offsets: tuple[int, ...], shift: int = 0, base: float = 10000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Sines and cosines [N, H/2] of each head's offset, at the frequencies of relative and rotary positions."""
    distances = np.array([offsets[head % len(offsets)] + shift for head in range(model.heads)])
    turns = distances[:, None] * base ** (-2 * np.arange(model.head_size // 2) / model.head_size)
    return np.sin(turns), np.cos(turns)


def interleaved(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """[N, H] of two [N, H/2]."""
    return np.stack([even, odd], -1).reshape(len(even), -1)


def repeated(number: int, bias: np.ndarray) -> jax.Array:
    """float32 [number, N, H] of a bias [N, H]."""
    return jnp.asarray(np.broadcast_to(bias, (number, *bias.shape)), jnp.float32)


def replaced(params: dict, new: dict[str, jax.Array]) -> dict:
    """A copy of the nested dict with the arrays at these paths changed."""
    for path, value in new.items():
        head, _, rest = path.partition("/")
        params = params | {head: replaced(params[head], {rest: value}) if rest else value}
    return params

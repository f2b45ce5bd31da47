"""The whole encoder in NumPy float64, one row, one layer and one head at a time, from the papers' formulas."""

import functools
import math
from collections.abc import Callable

import jax
import numpy as np

from bert_jax.config import Model


def run(model: Model, params: dict, batch: dict[str, np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The hidden states after each layer, [B, L, D] each (the final norm in the last), and the logits [B, L, V]."""
    rows = [row(model, params, {name: x[b] for name, x in batch.items()}) for b in range(len(batch["tokens"]))]
    states = [np.stack(layer) for layer in zip(*rows, strict=True)]
    head, words = params["mlm_head"], params["embeddings"]["word"]["embedding"]
    x = norm(model, head["norm"], activate(model, dense(head["dense"], states[-1])))
    return states, (x @ words.T + head["bias"])[..., : model.vocab_size]


def row(model: Model, params: dict, batch: dict[str, np.ndarray]) -> list[np.ndarray]:
    tables = params["embeddings"]
    x = tables["word"]["embedding"][batch["tokens"]]
    if model.token_types:
        x = x + tables["token_type"]["embedding"][batch["token_types"]]
    if model.task_types:
        x = x + tables["task_type"]["embedding"][batch.get("task_types", np.zeros_like(batch["tokens"]))]
    if model.positions.name == "absolute":
        x = x + tables["position"]["embedding"][batch["positions"]]
    if model.norm == "post":
        x = norm(model, tables["norm"], x)
    if model.embedding_width:
        x = dense(tables["projection"], x)
    table = position_table(model, tables["position"]) if model.positions.name == "disentangled" else None
    states = []
    for layer in range(model.layers):
        attention, mlp = (of_layer(model, params["layers"][part], layer) for part in ("attention", "mlp"))
        local = bool(model.window) and not (model.global_every and layer % model.global_every == 0)
        for part, function in ((attention, functools.partial(attend, local, table)), (mlp, feed_forward)):
            if model.norm == "pre":
                normed = norm(model, part["norm"], x)
                embedded = layer == 0 and part is attention  # whose norm is that of the embeddings, as in ModernBERT
                x = (normed if embedded else x) + function(model, part, normed, batch)
            else:
                x = norm(model, part["norm"], x + function(model, part, x, batch))
        states.append(x)
    if model.norm == "pre":
        states[-1] = norm(model, params["final_norm"], x)
    return states


def of_layer(model: Model, part: dict, layer: int) -> dict:
    """The weights of a layer: of its group, as ALBERT numbers groups, where only so many are stored."""
    stored = len(part["norm"]["scale"])
    place = layer if stored == model.layers else int(layer / (model.layers / stored))
    return jax.tree.map(lambda x: x[place], part)


def position_table(model: Model, tables: dict) -> np.ndarray:
    """The vectors by bucket of distances."""
    table = tables["embedding"]
    return norm(model, tables["norm"], table) if model.positions.options.get("normalised", True) else table


def attend(
    local: bool, table: np.ndarray | None, model: Model, part: dict, x: np.ndarray, batch: dict[str, np.ndarray]
) -> np.ndarray:
    size, out = model.width // model.heads, np.zeros_like(x)
    for head in range(model.heads):
        project = lambda part, x, head=head: x @ part["kernel"][:, head] + (part["bias"][head] if model.biases else 0)
        q, k, v = (project(part[name], x) for name in ("query", "key", "value"))
        if model.positions.name == "rotary":
            options = model.positions.options
            base = (options.get("local_base") if local else 0) or options.get("base", 10000)
            turns = [rotation(p, size, base) for p in batch["positions"]]
            q, k = (np.stack([turn @ y for turn, y in zip(turns, z, strict=True)]) for z in (q, k))
        scores = q @ k.T / math.sqrt(size)
        if table is not None:
            scores = disentangled(model, q, k, part, functools.partial(project, x=table)) / math.sqrt(size)
        scores[batch["segments"][:, None] != batch["segments"][None, :]] = -np.inf
        if local:
            scores[np.abs(np.subtract.outer(*[np.arange(len(x))] * 2)) > model.window] = -np.inf
        p = np.exp(scores - scores.max(-1, keepdims=True))
        out = out + (p / p.sum(-1, keepdims=True)) @ v @ part["output"]["kernel"][head]
    return out + (part["output"]["bias"] if model.biases else 0)


def disentangled(
    model: Model, q: np.ndarray, k: np.ndarray, part: dict, project: Callable[[dict], np.ndarray]
) -> np.ndarray:
    """The sum of DeBERTa's equation 4 for one head, [L, L], over the square root of the number of its terms.

    Args:
      project: of the table by a dense layer.
    """
    options = {"buckets": 256, "max_distance": 512, "share_keys": True} | dict(model.positions.options)
    projections = part if options["share_keys"] else part["position"]
    scores, terms, length = q @ k.T, 1, len(q)
    rows = [[row_of(i - j, options["buckets"], options["max_distance"]) for j in range(length)] for i in range(length)]
    if options.get("content_to_position", True):
        keys, terms = project(projections["key"]), terms + 1
        scores = scores + np.array([[q[i] @ keys[rows[i][j]] for j in range(length)] for i in range(length)])
    if options.get("position_to_content", True):
        queries, terms = project(projections["query"]), terms + 1
        scores = scores + np.array([[k[j] @ queries[rows[i][j]] for j in range(length)] for i in range(length)])
    return scores / math.sqrt(terms)


def row_of(distance: int, buckets: int, max_distance: int) -> int:
    """Of the table, for a query so many tokens right of the key: DeBERTa-v2's logarithmic buckets, or none."""
    apart, middle, side = abs(distance), buckets // 2, buckets or max_distance
    if buckets and apart > middle:
        steps = math.log(apart / middle) / math.log((max_distance - 1) / middle) * (middle - 1)
        apart = middle + math.ceil(steps - 1e-6)
    return min(max(side + (apart if distance > 0 else -apart), 0), 2 * side - 1)


def rotation(position: int, size: int, base: float) -> np.ndarray:
    """The matrix of RoFormer's equation 15."""
    matrix = np.zeros((size, size))
    for m in range(size // 2):
        angle = position * base ** (-2 * m / size)
        matrix[2 * m : 2 * m + 2, 2 * m : 2 * m + 2] = [
            [math.cos(angle), -math.sin(angle)],
            [math.sin(angle), math.cos(angle)],
        ]
    return matrix


def feed_forward(model: Model, part: dict, x: np.ndarray, batch: dict[str, np.ndarray]) -> np.ndarray:
    if model.gated:
        return dense(part["down"], activate(model, dense(part["gate"], x)) * dense(part["up"], x))
    return dense(part["down"], activate(model, dense(part["up"], x)))


def activate(model: Model, x: np.ndarray) -> np.ndarray:
    if model.activation == "relu":
        return np.maximum(x, 0)
    if model.activation == "silu":
        return x / (1 + np.exp(-x))
    if model.activation == "gelu_tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def dense(part: dict, x: np.ndarray) -> np.ndarray:
    return x @ part["kernel"] + part.get("bias", 0)


def norm(model: Model, part: dict, x: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + model.norm_epsilon) * part["scale"] + part.get("bias", 0)

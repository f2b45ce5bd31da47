"""A small parameter tree with every kind of leaf, at odd sizes, and random values for it."""

import numpy as np
import pytest

LAYERS, WIDTH, HEADS, HEAD_SIZE, MLP, VOCAB = 3, 15, 3, 5, 37, 101


def shapes() -> dict:
    n, d, h, k, f = LAYERS, WIDTH, HEADS, HEAD_SIZE, MLP

    def norm(*lead: int) -> dict:
        return {"scale": (*lead, d), "bias": (*lead, d)}

    projection = {"kernel": (n, d, h, k), "bias": (n, h, k)}
    return {
        "embeddings": {
            "word": {"embedding": (VOCAB, d)},
            "norm": norm(),
        },
        "layers": {
            "attention": {
                "query": projection,
                "output": {"kernel": (n, h, k, d)},
            },
            "mlp": {
                "up": {"kernel": (n, d, f), "bias": (n, f)},
                "down": {"kernel": (n, f, d)},
                "norm": norm(n),
            },
        },
        "mlm_head": {"dense": {"kernel": (d, d), "bias": (d,)}, "bias": (VOCAB,)},
    }


def flatten(tree: dict, prefix: tuple[str, ...] = ()) -> dict:
    """Nested dict -> {path: leaf}."""
    flat = {}
    for key, value in tree.items():
        flat |= flatten(value, (*prefix, key)) if isinstance(value, dict) else {(*prefix, key): value}
    return flat


def unflatten(flat: dict) -> dict:
    """{path: leaf} -> nested dict."""
    tree: dict = {}
    for path, leaf in flat.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return tree


class Trees:
    """Makes trees of the parameters' shapes."""

    flatten = staticmethod(flatten)
    unflatten = staticmethod(unflatten)

    @staticmethod
    def normal(seed: int, scale: float = 1.0) -> dict:
        """Normal float32 leaves, each layer of a stacked leaf with a size of its own."""
        random = np.random.default_rng(seed)
        flat = {}
        for path, shape in flatten(shapes()).items():
            leaf = random.normal(size=shape) * scale * random.uniform(0.1, 3)
            if path[0] == "layers":
                leaf *= random.uniform(0.01, 30, size=(LAYERS, *[1] * (len(shape) - 1)))
            flat[path] = leaf.astype(np.float32)
        return unflatten(flat)

    @staticmethod
    def layer(tree: dict, i: int) -> dict:
        """The tree with layer i alone, in a stack of one."""
        flat = flatten(tree)
        return unflatten({path: leaf[i : i + 1] if path[0] == "layers" else leaf for path, leaf in flat.items()})


@pytest.fixture(scope="session")
def trees() -> type[Trees]:
    return Trees

"""BERT-family pretraining in JAX on TPU and GPU meshes.

`bert_jax.load(path)` opens a work folder, an exported folder or a checkpoint in PyTorch's layout.
"""

from typing import TYPE_CHECKING

from configuration import early

if TYPE_CHECKING:
    from bert_jax.encoder import Encoder, load

__all__ = ["Encoder", "load"]
early.begin()


def __getattr__(name: str) -> object:
    # Imported when first asked for: reading a configuration needs no JAX.
    if name in __all__:
        from bert_jax import encoder

        return getattr(encoder, name)
    raise AttributeError(f"module 'bert_jax' has no attribute {name!r}")

"""Where each array of each configuration lies on the mesh, as text; the golden files are written by

    PYTHONPATH=.:tests python tests/bert_jax/golden.py

which is to be run, and its difference read, whenever a sharding changes on purpose.
"""

import sys
from pathlib import Path

import jax
import shipped

from bert_jax.config import Config, Mesh
from bert_jax.runtime import sharding
from bert_jax.runtime.trees import flatten
from bert_jax.training.state import abstract_state

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "golden" / "sharding"
CONFIGS = shipped.recipes()


def describe(config: Config) -> str:
    """One line an array: name, type, shape, the mesh axis that splits each dimension (- for none)."""
    mesh = sharding.make_mesh(Mesh(), jax.devices()[:1])
    state = flatten(abstract_state(config, mesh))
    lines = [f"{name}  {x.dtype}{list(x.shape)}  {spec(x.sharding.spec, x.ndim)}" for name, x in state.items()]
    return "\n".join([*lines, f"batch  {spec(sharding.BATCH, 2)}"]) + "\n"


def spec(axes: jax.sharding.PartitionSpec, dimensions: int) -> str:
    """(-, fsdp, tensor) for PartitionSpec(None, "fsdp", "tensor")."""
    padded = [*axes, *[None] * (dimensions - len(axes))]
    return f"({', '.join('+'.join(a) if isinstance(a, tuple) else a or '-' for a in padded)})"


def main() -> None:
    """Writes every golden file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("*.txt"):
        path.unlink()
    for path in CONFIGS:
        (FOLDER / f"{path.stem}.txt").write_text(describe(shipped.read(path)), encoding="utf-8")
        print(FOLDER / f"{path.stem}.txt", file=sys.stderr)


if __name__ == "__main__":
    main()

"""What more chips cost, by the TPU compiler: the same rows on each chip, from 16 chips to 256.

    python benchmarks/weak_scaling.py --json=weak_scaling.json --png=weak_scaling.png

Compiles the real train step of BERT-large with LAMB for v5e slices, which needs no TPU (extra `tpu`): with copies of
the model on all chips (pure data parallelism), and on the largest slice with parameters and moments split over all
chips (fsdp). The least that copies must exchange is each gradient once, in the type that the backward pass computes
it in: the compute type for matrices and their biases, float32 for the tables and LayerNorm.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bert_jax import compile_tpu
from bert_jax.config import Config, Mesh
from bert_jax.modeling import bert
from bert_jax.modeling.parts import size
from bert_jax.objectives import parts_of
from configuration import cli
from configuration import flags as config_flags

FLAGS = flags.FLAGS
ROOT = Path(__file__).resolve().parents[1]
IN_FLOAT32 = ("embeddings", "norm", "final_norm", "bias")


def define() -> None:
    flags.DEFINE_string("config", str(ROOT / "configs" / "bert_large_lamb_64k.py"), "Configuration file.")
    flags.DEFINE_list("topology", ["v5e:4x4", "v5e:8x8", "v5e:16x16"], "Slices, from the smallest.")
    flags.DEFINE_integer("rows", 32, "Rows on each chip.", lower_bound=1)
    flags.DEFINE_integer("phase", 0, "Which phase of the configuration.")
    flags.DEFINE_string("png", "", "Also draw this picture.")


def main() -> dict[str, Any]:
    compile_tpu.use_compiler()
    config = config_flags.read(FLAGS.config)
    copies = [measure(config, topology, Mesh()) for topology in FLAGS.topology]
    split = measure(config, FLAGS.topology[-1], Mesh(data=1, fsdp=-1))
    least, state = least_bytes(config), state_bytes(config)
    first = copies[0]["estimated_cycles"]
    print(
        f"{config.name}, {FLAGS.rows} rows a chip, copies on all chips; the least to exchange is {least / 1e6:.1f} MB"
    )
    print("slice        chips   Mcycles  to first  exchanged MB  to least  gathered MB")
    for figures in copies:
        figures["to_first"] = figures["estimated_cycles"] / first - 1
        figures["to_least"] = figures["exchanged"] / least - 1
        print(
            f"{figures['topology']:12}{figures['chips']:6}{figures['estimated_cycles'] / 1e6:10.1f}"
            f"{figures['to_first']:+10.1%}{figures['exchanged'] / 1e6:14.1f}{figures['to_least']:+10.1%}"
            f"{figures['gathered'] / 1e6:13.2f}"
        )
    share = split["memory"]["state_bytes"] * split["chips"] / state
    print(
        f"split over the {split['chips']} chips of {split['topology']}: parameters and moments take "
        f"{split['memory']['state_bytes'] / 1e6:.2f} MB a chip, {share - 1:+.1%} to 1/{split['chips']} of all"
    )
    for kind, found in split["collectives"].items():
        print(f"  {kind:18} {found['number']:4} a step, {found['bytes'] / 1e6:10.1f} MB")
    if FLAGS.png:
        draw(copies, least, FLAGS.png)
    return {"config": config.name, "least": least, "copies": copies, "split": split | {"to_its_share": share - 1}}


def measure(config: Config, topology: str, mesh: Mesh) -> dict[str, Any]:
    """The compiler's figures for so many rows on each chip."""
    chips = len(compile_tpu.topology_devices(topology))
    config = dataclasses.replace(config, mesh=mesh)
    figures = compile_tpu.examine(config, topology, FLAGS.phase, FLAGS.rows * chips)
    print(compile_tpu.line(figures), file=sys.stderr, flush=True)
    bytes_of = {kind: found["bytes"] for kind, found in figures["collectives"].items()}
    # An all-reduce is a reduce-scatter and an all-gather of the same array, and is counted once.
    reduced = bytes_of.get("all-reduce", 0) + bytes_of.get("reduce-scatter", 0)
    gathered = bytes_of.get("all-gather", 0)
    others = sum(bytes_of.values()) - reduced - gathered
    return figures | {"exchanged": reduced + others, "gathered": gathered}


def least_bytes(config: Config) -> int:
    """Bytes of all gradients that the mlm objective has, each once."""
    width = jax.numpy.dtype(config.model.dtype).itemsize

    def of(path: Any, x: Any) -> int:
        names = [key.key for key in path]
        return x.size * (4 if any(name in IN_FLOAT32 for name in names) else width)

    params = bert.abstract_params(config.model, parts_of(config))
    return sum(jax.tree.leaves(jax.tree_util.tree_map_with_path(of, params)))


def state_bytes(config: Config) -> int:
    """Bytes of parameters and the optimizer's two moments, all chips together."""
    return 3 * 4 * size(bert.abstract_params(config.model, parts_of(config)))


def draw(copies: list[dict[str, Any]], least: int, path: str) -> None:
    """Cycles and bytes by chips, in shares of the first and of the least."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    chips = [figures["chips"] for figures in copies]
    cycles = [figures["estimated_cycles"] / copies[0]["estimated_cycles"] for figures in copies]
    axes.plot(chips, cycles, marker="o", label="cycles a chip, to those on the first")
    axes.plot(chips, [f["exchanged"] / least for f in copies], marker="s", label="bytes exchanged, to the least")
    axes.axhspan(0.95, 1.05, alpha=0.1, color="gray", label="within 5%")
    axes.set_xscale("log", base=2)
    axes.set_xticks(chips, [str(n) for n in chips])
    axes.set_ylim(0.8, 1.2)
    axes.set_xlabel("chips")
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    cli.run(main, define)

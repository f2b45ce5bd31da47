"""What a training step needs of memory, by rematerialisation and optimizer, and the largest batch that fits.

    python benchmarks/step_memory.py --platforms=cpu --json=step_memory_cpu.json --png=step_memory_cpu.png
    python benchmarks/step_memory.py --platforms=v5e --largest --json=step_memory_tpu.json     # needs the extra `tpu`

Nothing is run: the figures are the compiler's own analysis of the compiled step, XLA's for the CPU (float32) or the
TPU compiler's for one chip (bfloat16). `--largest` looks for the largest batch below 16, 80 and 141 GB. The compiler
refuses what is too large for its chip, so for 80 and 141 GB the need at two batches that fit is carried on along a
line: an extrapolation, for which no chip or GPU of that size was compiled.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from bert_jax import compile_tpu
from bert_jax.config import Config
from bert_jax.runtime import sharding
from bert_jax.training.state import abstract_state
from bert_jax.training.step import jit_train_step
from configuration import cli

FLAGS = flags.FLAGS
SIZES = {"base": (12, 768), "large": (24, 1024)}
CHIPS = {"16 GB": 16e9, "80 GB": 80e9, "141 GB": 141e9}
GB = 1e9


def define() -> None:
    charts.define()
    flags.DEFINE_list("platforms", ["cpu"], "cpu, or kinds of TPU chips: v5e, v4, v5p, v6e.")
    flags.DEFINE_list("sizes", list(SIZES), "base, large.")
    flags.DEFINE_list("remats", ["none", "dots", "full"], "Rematerialisation policies.")
    flags.DEFINE_list("optimizers", ["lamb", "adamw", "muon"], "Optimizers.")
    flags.DEFINE_integer("rows", 8, "B, rows of the batch.")
    flags.DEFINE_integer("length", 512, "L, tokens in a row.")
    flags.DEFINE_float("attention_dropout", 0.0, "Kernels that keep no scores cannot drop them.")
    flags.DEFINE_bool("largest", False, "Also the largest batch of 16, 80 and 141 GB.")


def main() -> dict[str, Any]:
    rows = []
    if any(platform != "cpu" for platform in FLAGS.platforms):
        compile_tpu.use_compiler()
    chips = "".join(f"{name:>9}" for name in CHIPS) if FLAGS.largest else ""
    batch = f"GB, {FLAGS.rows} × {FLAGS.length} tokens"
    print(f"{batch:<34}{'state':>8}{'else':>8}{'peak':>8}{chips}")
    for platform, size, remat, optimizer in itertools.product(
        FLAGS.platforms, FLAGS.sizes, FLAGS.remats, FLAGS.optimizers
    ):
        row = {"platform": platform, "size": size, "remat": remat, "optimizer": optimizer}
        need = peak(platform, size, remat, optimizer, FLAGS.rows)
        if FLAGS.largest and "peak" in need:
            need["largest"] = largest(platform, size, remat, optimizer, need)
        rows.append(row | need)
        print(line(rows[-1]), flush=True)
    charts.bars(
        {
            f"{row['size']}, {row['remat']}\n{row['platform']}, {row['optimizer']}": {
                part: row[part] / GB for part in ("state", "peak")
            }
            for row in rows
            if "peak" in row
        },
        "GB",
    )
    return {"rows": FLAGS.rows, "length": FLAGS.length, "cases": rows}


def line(row: dict[str, Any]) -> str:
    name = f"{row['platform']}, {row['size']}, {row['remat']}, {row['optimizer']}"
    if "peak" not in row:
        return f"{name:<34}{row['error']}"
    largest_batches = "".join(f"{row['largest'][chip]:>9}" for chip in CHIPS) if "largest" in row else ""
    return f"{name:<34}{row['state'] / GB:>8.2f}{row['else'] / GB:>8.2f}{row['peak'] / GB:>8.2f}{largest_batches}"


def peak(platform: str, size: str, remat: str, optimizer: str, rows: int) -> dict[str, Any]:
    """Bytes of one device while the step runs: the state, everything else, both."""
    layers, width = SIZES[size]
    changes = {
        "model.remat": remat,
        "optimizer": optimizer,
        "model.dtype": "float32" if platform == "cpu" else "bfloat16",
        "model.attention_dropout": FLAGS.attention_dropout,
    }
    config = training.make_config(training.Work(layers, width, rows, FLAGS.length), changes)
    try:
        compiled, mesh = compile_step(config, platform)
    except compile_tpu.OutOfMemory:
        return {"error": "does not fit"}
    m = compiled.memory_analysis()
    state = compile_tpu.local_bytes(abstract_state(config, mesh))
    total = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes
    return {"state": state, "else": total - state, "peak": total}


def compile_step(config: Config, platform: str) -> tuple[Any, Any]:
    """The compiled step for one device, and its mesh."""
    import jax

    if platform == "cpu":
        devices = jax.devices("cpu")[:1]
    else:
        devices = compile_tpu.topology_devices(f"{platform}:2x2" if platform != "v4" else "v4:2x2x1")[:1]
    mesh = sharding.make_mesh(config.mesh, devices)
    step = jit_train_step(config, config.phases[0], training.make_objective(config), mesh)
    try:
        compiled = step.lower(abstract_state(config, mesh), compile_tpu.abstract_batch(config, mesh)).compile()
    except jax.errors.JaxRuntimeError as error:
        raise compile_tpu.in_words(error) from None
    return compiled, mesh


def largest(platform: str, size: str, remat: str, optimizer: str, need: dict[str, float]) -> dict[str, int]:
    """The largest batch by the line through the need of this batch and of half of it."""
    half = peak(platform, size, remat, optimizer, FLAGS.rows // 2)
    by_row = (need["peak"] - half["peak"]) / (FLAGS.rows - FLAGS.rows // 2)
    fixed = need["peak"] - by_row * FLAGS.rows
    return {chip: max(0, int((memory - fixed) // by_row)) for chip, memory in CHIPS.items()}


if __name__ == "__main__":
    cli.run(main, define)

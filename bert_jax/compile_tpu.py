"""Compiles the real train step for a TPU slice on a machine without one: its memory, collectives and projected time.

    python -m bert_jax.compile_tpu --config=configs/bert_large.py --topology=v5e:4x4
    python -m bert_jax.compile_tpu --config=configs/bert_large.py --topology=v5e:4x4,v6e:4x4,v4:2x2x4 --batch_size=512
    python -m bert_jax.compile_tpu --config=configs/bert_large.py --topology=v5e:8x8 --find_largest_batch
    python -m bert_jax.compile_tpu --config=configs/bert_large.py --topology=2*v5e:4x4 --config.mesh.replica=2

Memory, collectives and cycles are the TPU compiler's own, which comes with `pip install 'bert_jax[tpu]'`. Projected
seconds rest on three assumptions: each operation takes what the compiler estimates, one after the other; each call of a
kernel, for which it estimates nothing, takes its products or its memory traffic at the chip's full rate, whichever is
longer, which is the least; and each collective takes its bytes on a ring at the chip's full link speed. The quicker
figure hides the collectives behind the computing, the slower one adds them to it. Input, output and the host are not in
them, nor is the slower network between several slices.
"""

import dataclasses
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from absl import flags

from bert_jax.analysis.flops import abstract_rows, kernels_without_estimate, matmul_flops
from bert_jax.analysis.hlo import COLLECTIVES, KernelCall, Program
from bert_jax.config import BatchWarmup, Config
from bert_jax.objectives import Vocabulary
from bert_jax.runtime import precision, sharding
from bert_jax.training import state_sharding
from bert_jax.training.start import config_from_flags
from bert_jax.training.state import abstract_state
from bert_jax.training.step import jit_train_step
from configuration import cli
from configuration import flags as config_flags
from configuration.variants import ConfigError, load

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip's figures, from Cloud TPU's documentation (cloud.google.com/tpu/docs, system architecture)."""

    memory: float  # bytes
    flops: float  # a second, bfloat16
    traffic: float  # bytes a second, between its memory and its cores
    link: float  # bytes a second that it sends to its neighbours, all links together
    clock: float  # cycles a second: flops / (2 · multiply-adds of its matrix units in a cycle)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of the compiler's topology


CHIPS = {
    "v4": Chip(32 * GIB, 275e12, 1228e9, 300e9, 1.05e9, {"chip_config_name": "megacore"}),
    "v5e": Chip(16 * GIB, 197e12, 819e9, 200e9, 1.5e9),
    "v5p": Chip(95 * GIB, 459e12, 2765e9, 600e9, 1.75e9),
    "v6e": Chip(32 * GIB, 918e12, 1640e9, 448e9, 1.75e9),
}


class OutOfMemory(ConfigError):
    """The step needs more memory than a chip has; the message is the compiler's."""


def compile_flags() -> None:
    """--topology, --phase, --batch_size, --find_largest_batch"""
    flags.DEFINE_list("topology", None, "TPU slices, such as v5e:4x4,v4:2x2x4; several make a table.", required=True)
    flags.DEFINE_integer("phase", -1, "Which phase of the configuration; -1 for the last.")
    flags.DEFINE_integer("batch_size", 0, "Rows of the global batch; 0 for the configuration's.", lower_bound=0)
    flags.DEFINE_bool("find_largest_batch", False, "Search for the largest batch that fits, without microbatches.")


def main() -> dict[str, Any]:
    """The command."""
    config = precision.settled(config_from_flags(), platform="tpu")
    use_compiler()
    rows = []
    for topology in cli.FLAGS.topology:
        try:
            if cli.FLAGS.find_largest_batch:
                rows.append(find_largest_batch(config, topology, cli.FLAGS.phase))
            else:
                rows.append(examine(config, topology, cli.FLAGS.phase, cli.FLAGS.batch_size))
        except OutOfMemory as error:
            if len(cli.FLAGS.topology) == 1:
                raise
            rows.append({"topology": topology, "fits": False, "compiler_says": str(error)})
        print(describe(rows[-1]) if len(cli.FLAGS.topology) == 1 else line(rows[-1]), flush=True)
    return {"config": config.name, "topologies": rows}


def use_compiler() -> None:
    """Makes the TPU compiler usable on a machine without TPUs.

    Raises:
      ConfigError: it is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError("the TPU compiler is not installed: pip install 'bert_jax[tpu]'")
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",  # no metadata server here
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing is run, so another process may use it too
        "TPU_WORKER_HOSTNAMES": "localhost",  # without these two it complains at length
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "TPU_STDERR_LOG_LEVEL": "3",
    }
    jax.config.update("jax_platforms", "cpu")


def topology_devices(topology: str) -> Sequence[Any]:
    """The devices of a slice, to compile for.

    Raises:
      ConfigError: the compiler knows no such slice.
    """
    from jax.experimental import topologies

    options = dict(chip_of(topology).options)
    slices, one = slices_of(topology)
    if slices > 1:
        options["num_slices"] = slices
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=one, **options).devices
    except (RuntimeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise ConfigError(f"--topology={topology} is no slice that the compiler knows: {message}") from None


def chip_of(topology: str) -> Chip:
    """The chips of a slice such as v5e:4x4, or of several, 2*v5e:4x4."""
    slices, one = slices_of(topology)
    kind, _, shape = one.partition(":")
    if slices < 1 or kind not in CHIPS or not shape.replace("x", "").isdigit():
        raise ConfigError(
            f"--topology={topology} must be a kind of chip and a shape, such as v5e:4x4 or, two slices, 2*v5e:4x4; "
            f"kinds are {', '.join(CHIPS)}"
        )
    return CHIPS[kind]


def slices_of(topology: str) -> tuple[int, str]:
    """2*v5e:4x4 → (2, v5e:4x4)"""
    number, times, one = topology.rpartition("*")
    return (int(number) if number.isdigit() else 0) if times else 1, one


def examine(config: Config, topology: str, phase: int = -1, batch_size: int = 0) -> dict[str, Any]:
    """Compiles one phase's step for a slice; gives its figures, a chip each where not said otherwise.

    Raises:
      ConfigError: the configuration does not fit the slice.
      OutOfMemory: a chip has too little memory.
    """
    config = one_phase(config, phase, batch_size)
    chip, mesh = chip_of(topology), sharding.make_mesh(config.mesh, topology_devices(topology))
    state_sharding.check(config, mesh)
    state, batch = abstract_state(config, mesh), abstract_batch(config, mesh)
    step = jit_train_step(config, config.phases[0], make_objective(config), mesh)
    traced = step.trace(state, batch)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        raise in_words(error) from None
    program = Program(compiled.as_text(), mesh.size)
    kernels = [*program.kernel_calls, *kernels_without_estimate(traced.jaxpr.jaxpr)]
    return {
        "topology": topology,
        "chips": mesh.size,
        "mesh": dict(mesh.shape),
        "batch_size": config.phases[0].batch_size,
        "length": config.phases[0].length,
        "fits": True,
        "memory": memory(compiled, chip) | {"state_bytes": local_bytes(state)},
        **speed(program, kernels, chip, config, matmul_flops(traced.jaxpr.jaxpr) / mesh.size),
    }


def one_phase(config: Config, phase: int, batch_size: int) -> Config:
    """The configuration with that phase alone, at a batch size of choice (without microbatches) or its own."""
    if not -len(config.phases) <= phase < len(config.phases):
        raise ConfigError(f"--phase={phase}, but the configuration has {len(config.phases)} phases, from 0")
    chosen = config.phases[phase]
    if batch_size:
        chosen = dataclasses.replace(chosen, batch_size=batch_size, microbatches=1, batch_warmup=BatchWarmup())
    return dataclasses.replace(config, phases=(chosen,))


def make_objective(config: Config) -> Any:
    """The objective on a vocabulary that takes no tokenizer: ids change nothing in the compiled step."""
    vocabulary = Vocabulary(size=config.model.vocab_size, pad=0, cls=2, sep=3, mask=4)
    return load("bert_jax.objectives", config.objectives[-1])(config.models[-1], vocabulary)


def abstract_batch(config: Config, mesh: jax.sharding.Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """A batch as `data_pipeline.batches.pipeline.batches` gives it."""
    phase, rows = config.phases[0], sharding.batch_sharding(mesh)
    batch = abstract_rows(make_objective(config), phase.batch_size, phase.length)
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in batch.items()}


def in_words(error: Exception) -> Exception:
    """The compiler's own words where a chip has too little memory; the error itself otherwise."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return error
    says = text[text.find("Ran out of memory") :] if "Ran out of memory" in text else text
    remedies = "a smaller --batch_size or more microbatches, config.model.remat=full, config.mesh.fsdp, more chips"
    return OutOfMemory(f"{' '.join(says.split(chr(10) * 2)[0].split())} Remedies: {remedies}")


def memory(compiled: Any, chip: Chip) -> dict[str, float]:
    """Bytes on each chip while the step runs."""
    m = compiled.memory_analysis()
    parts = {
        "arguments": m.argument_size_in_bytes,
        "outputs": m.output_size_in_bytes - m.alias_size_in_bytes,
        "temporary": m.temp_size_in_bytes,
        "code": m.generated_code_size_in_bytes,
    }
    total = sum(parts.values())
    return {**parts, "total": total, "available": chip.memory, "share": total / chip.memory}


def local_bytes(tree: Any) -> int:
    """Bytes of a tree of abstract arrays on each device."""
    return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def speed(program: Program, calls: Sequence[KernelCall], chip: Chip, config: Config, flops: float) -> dict[str, Any]:
    """Work, collectives and projected times of a step."""
    of_kind = {kind: [c for c in program.collectives if c.kind == kind] for kind in COLLECTIVES}
    kernels = sum(c.times * max(c.flops / chip.flops, c.bytes / chip.traffic) for c in calls)
    computing = program.cycles / chip.clock + kernels
    exchanging = sum(c.wire_bytes for c in program.collectives) / chip.link
    quickest, slowest = max(computing, exchanging), computing + exchanging
    phase = config.phases[0]
    return {
        "matmul_flops": flops,
        "estimated_cycles": program.cycles,
        "seconds_in_kernels": kernels,
        "collectives": {
            kind: {
                "number": sum(c.times for c in found),
                "bytes": sum(c.bytes * c.times for c in found),
                "wire_bytes": sum(c.wire_bytes for c in found),
            }
            for kind, found in of_kind.items()
            if found
        },
        "seconds_computing": computing,
        "seconds_exchanging": exchanging,
        "step_seconds": [quickest, slowest],
        "tokens_per_second": [phase.batch_size * phase.length / s for s in (slowest, quickest)],
        "share_of_peak": [flops / chip.flops / s for s in (slowest, quickest)],
    }


def find_largest_batch(config: Config, topology: str, phase: int = -1) -> dict[str, Any]:
    """The figures at the largest batch that fits, to within an eighth; each device that holds rows gets whole ones."""
    mesh = sharding.make_mesh(config.mesh, topology_devices(topology))
    copies = sharding.batch_shards(mesh)
    figures: dict[int, dict[str, Any]] = {}

    def fits(rows: int) -> bool:
        try:
            figures[rows] = examine(config, topology, phase, rows * copies)
        except OutOfMemory:
            print(f"{rows * copies} rows do not fit", file=sys.stderr)
            return False
        print(f"{rows * copies} rows fit", file=sys.stderr)
        return True

    best = largest(fits)
    if not best:
        raise OutOfMemory(f"not even one row a chip fits on {topology}: more chips, or config.mesh.fsdp=-1")
    return figures[best]


def largest(fits: Callable[[int], bool]) -> int:
    """The largest n that fits, to within an eighth below it; 0 if 1 does not. Larger ones fit less."""
    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def describe(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    m, seconds = figures["memory"], figures["step_seconds"]
    tokens, share = figures["tokens_per_second"], figures["share_of_peak"]
    lines = [
        f"{figures['topology']}: {figures['chips']} chips, mesh {figures['mesh']}, "
        f"batch {figures['batch_size']} × {figures['length']} tokens; on each chip:",
        f"  memory        {m['total'] / GIB:8.2f} GiB of {m['available'] / GIB:.0f} ({m['share']:.0%}): "
        f"state {m['state_bytes'] / GIB:.2f}, temporary {m['temporary'] / GIB:.2f}",
        f"  work          {figures['matmul_flops'] / 1e12:8.2f} TFLOP in matrix products, "
        f"{figures['estimated_cycles'] / 1e6:.0f}M cycles by the compiler's estimate, "
        f"{figures['seconds_in_kernels'] * 1e3:.1f} ms in kernels at the least",
    ]
    for kind, c in figures["collectives"].items():
        lines.append(
            f"  {kind:18} {c['number']:4} a step, {c['bytes'] / 1e6:10.1f} MB, sent {c['wire_bytes'] / 1e6:.1f} MB"
        )
    return "\n".join(
        [
            *lines,
            f"  projected     {seconds[0]:8.4f} s a step (collectives hidden) to {seconds[1]:.4f} s (added)",
            f"                {tokens[0] / 1e6:8.3f} to {tokens[1] / 1e6:.3f}M tokens a second, all chips together, "
            f"{share[0]:.0%} to {share[1]:.0%} of the chips' peak",
            "  assumed: the estimates and the kernels' least one after the other; collectives at full link speed",
        ]
    )


def line(figures: Mapping[str, Any]) -> str:
    """The figures as one line of a table."""
    if not figures["fits"]:
        return f"{figures['topology']:10} does not fit: {figures['compiler_says']}"
    m, seconds, tokens = figures["memory"], figures["step_seconds"], figures["tokens_per_second"]
    return (
        f"{figures['topology']:10} {figures['chips']:4} chips  batch {figures['batch_size']:6}  "
        f"{m['total'] / GIB:6.2f} of {m['available'] / GIB:3.0f} GiB  {seconds[0]:8.4f} to {seconds[1]:8.4f} s a step  "
        f"{tokens[0] / 1e6:7.3f} to {tokens[1] / 1e6:7.3f}M tokens/s"
    )


if __name__ == "__main__":
    cli.run(main, config_flags.config_flag, compile_flags)

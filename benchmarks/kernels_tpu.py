"""What attention costs on a TPU slice, by the TPU compiler's own accounts: no TPU is needed, the extra `tpu` is.

    python benchmarks/kernels_tpu.py --model=base --json=kernels_base.json --png=kernels_base.png
    python benchmarks/kernels_tpu.py --model=large --remats=none,dots,full --json=kernels_large.json

Compiles the whole training step (bfloat16, LAMB, 32 rows of 512 tokens a chip of v5e:4x4, the batch split over all
chips) for absolute positions and for functional-relative ones, unclipped and clipped at 64, with each kernel that
can. Without attention dropout, but for the lines that say so. Columns:

- compile: seconds, on this machine, one case at a time;
- memory: arguments and temporary arrays of a chip, GB (of 16); "does not fit" is the compiler's own verdict;
- outside: the compiler's estimated cycles of everything but kernel calls, the scan's body times its layers;
- counted: of the kernel calls, the larger of matrix work (products padded to 128 lanes) and memory traffic (inputs
  and outputs, padded likewise) at the chip's rates;
- scheduled: of the kernel calls, the instruction words that the compiler scheduled for one step of the kernel (read
  from its dump of the call compiled alone) times its steps: vector work and waits for results counted, waits for
  memory not;
- the step in milliseconds by outside + counted and by outside + scheduled, and what it is of absolute positions'.
"""

import functools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from bert_jax.config import Config, Mesh, Model, Phase
from bert_jax.modeling.kernels import Request, band
from bert_jax.modeling.kernels._rows import LANES
from bert_jax.runtime import sharding
from configuration import cli
from configuration.variants import Variant, load, use

FLAGS = flags.FLAGS
SIZES = {"base": {}, "large": {"layers": 24, "width": 1024, "heads": 16, "mlp_width": 4096}}
POSITIONS = {
    "absolute": use("absolute"),
    "unclipped": use("functional_relative"),
    "clipped": use("functional_relative", max_distance=64),
}
CASES = (  # positions, kernel, attention dropout
    ("absolute", "splash", 0.0),
    ("unclipped", "splash", 0.0),
    ("unclipped", "band", 0.0),
    ("clipped", "band", 0.0),
    ("absolute", "xla", 0.0),
    ("unclipped", "xla", 0.0),
    ("clipped", "xla", 0.0),
    ("absolute", "xla", 0.1),
    ("absolute", "fused", 0.1),
    ("unclipped", "band", 0.1),
    ("clipped", "band", 0.1),
)
# A v5e chip has 197 TFLOP/s and 819 GB/s (cloud.google.com/tpu/docs/v5e); with four 128 × 128 arrays that is 1.5 GHz.
CYCLES_PER_SECOND = 1.5e9
PRODUCTS_PER_CYCLE = 4 * 128 * 128
BYTES_PER_CYCLE = 819e9 / CYCLES_PER_SECOND
CALLS = {
    "splash": ("splash_mha_fwd", "splash_mha_dkv"),
    "band": ("band_forward", "band_backward"),
    "fused": ("fused_forward", "fused_backward"),
    "xla": (),
}


def define() -> None:
    charts.define()
    flags.DEFINE_enum("model", "base", list(SIZES), "BERT-base or BERT-large.")
    flags.DEFINE_list("remats", ["none"], "Rematerialisation policies.")
    flags.DEFINE_list("positions", list(POSITIONS), "Position schemes.")
    flags.DEFINE_list("kernels", ["splash", "band"], "Kernels: splash, band, fused, xla.")
    flags.DEFINE_string("topology", "v5e:4x4", "The slice.")
    flags.DEFINE_integer("length", 512, "L, tokens in a row.")
    flags.DEFINE_integer("rows", 32, "Rows of a chip.")
    flags.DEFINE_string("case", None, "One case as JSON, measured in this process.")


def main() -> dict[str, Any]:
    if FLAGS.case:
        case = json.loads(FLAGS.case)
        return schedule(**case) if "dump" in case else measure(**case)
    measured: list[dict[str, Any]] = []
    print(
        f"{'':<36}{'compile':>8}{'memory':>8}{'outside':>9}{'counted':>9}{'scheduled':>10}{'ms':>12}{'of absolute':>16}"
    )
    for remat in FLAGS.remats:
        reference: dict[str, Any] = {}
        for positions, kernel, dropout in CASES:
            if kernel not in FLAGS.kernels or positions not in FLAGS.positions:
                continue
            case = {"positions": positions, "kernel": kernel, "dropout": dropout, "remat": remat}
            row = case | in_fresh_process({**case, "words": words(kernel, positions, dropout)})
            reference = reference or row
            for account in ("counted", "scheduled"):
                if "milliseconds" in row and "milliseconds" in reference:
                    row.setdefault("of_absolute", {})[account] = (
                        row["milliseconds"][account] / reference["milliseconds"][account]
                    )
            measured.append(row)
            print(line(row), flush=True)
    charts.bars(
        {
            f"{row['positions']}\n{row['kernel']}, {row['remat']}": row["milliseconds"]
            for row in measured
            if "milliseconds" in row
        },
        "ms a step",
    )
    return {
        "model": FLAGS.model,
        "topology": FLAGS.topology,
        "rows": FLAGS.rows,
        "length": FLAGS.length,
        "cases": measured,
    }


def line(row: dict[str, Any]) -> str:
    name = f"{row['positions']}, {row['kernel']}, remat {row['remat']}" + (", dropout" if row["dropout"] else "")
    if "error" in row:
        return f"{name:<36}{row['error']}"
    cycles = "".join(
        f"{row['cycles'][a] / 1e6:>{w}.1f}M" for a, w in (("outside", 8), ("counted", 8), ("scheduled", 9))
    )
    times = "/".join(f"{value:.1f}" for value in row["milliseconds"].values())
    ratios = "/".join(f"{value:.3f}" for value in row.get("of_absolute", {}).values())
    return f"{name:<36}{row['compile_seconds']:>7.0f}s{row['memory_gb']:>8.2f}{cycles}{times:>12}{ratios:>16}"


@functools.cache
def words(kernel: str, positions: str, dropout: float) -> list[int]:
    """Instruction words of one step of the kernel's calls, forward and backward."""
    if not CALLS[kernel]:
        return []
    with tempfile.TemporaryDirectory() as dump:
        done = in_fresh_process(
            {"kernel": kernel, "positions": positions, "dropout": dropout, "dump": dump},
            LIBTPU_INIT_ARGS=f"--xla_jf_dump_to={dump} --xla_jf_dump_llo_text=true",
        )
    if "error" in done:
        raise SystemExit(f"{kernel}: {done['error']}")
    return done["words"]


def in_fresh_process(case: dict[str, Any], **environment: str) -> dict[str, Any]:
    """One case in a process of its own."""
    return in_own_process(__file__, ("model", "topology", "length", "rows"), case, **environment)


def in_own_process(script: str, own: Sequence[str], case: dict[str, Any], **environment: str) -> dict[str, Any]:
    """What `script --case=…` finds, in a process of its own: the compiler reads its settings from the environment once.

    Args:
      own: names of the script's flags that it is given as they are here.
    """
    settings = {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "case.json"
        given = [f"--{name}={getattr(FLAGS, name)}" for name in own]
        command = [sys.executable, script, *given, f"--case={json.dumps(case)}", f"--json={figures}"]
        done = subprocess.run(command, env=os.environ | settings | environment, capture_output=True, text=True)
        if figures.exists():
            return json.loads(figures.read_text())
        return {"error": next((x for x in done.stderr.splitlines()[::-1] if "Error" in x), "failed")[:200]}


def schedule(kernel: str, positions: str, dropout: float, dump: str) -> dict[str, Any]:
    """Compiles attention alone, forward and backward, and reads how long the schedule of its calls is."""
    import jax
    import jax.numpy as jnp

    from bert_jax.modeling.choice import choose
    from bert_jax.modeling.visibility import within

    assert FLAGS.length <= 512  # of longer rows, splash does a head in several steps
    mesh = chips_mesh()
    model = Model(positions=POSITIONS[positions], kernel=Variant(kernel), **SIZES[FLAGS.model])
    asked = Request(platform="tpu", length=FLAGS.length, head_size=model.head_size, dtype="bfloat16")
    chosen = choose(model, asked)
    form, key = chosen.form, jax.random.key(0) if dropout else None

    def run(q: jax.Array, segments: jax.Array, gradient: jax.Array) -> Any:
        tables = form.tables(jnp.zeros_like(segments), None)

        def attention(q: jax.Array) -> jax.Array:
            wide, added = form.transform_qkv(q, q, q, tables, None), form.addition(tables, None)
            how = {"scale": model.head_size**-0.5, "addition": added, "rate": dropout, "key": key}
            out = chosen.kernel.attend(*wide, within(segments), **how)
            return form.transform_output(out, tables)

        out, pull = jax.vjp(attention, q)
        return out, pull(gradient)

    rows = sharding.batch_sharding(mesh)
    q = jax.ShapeDtypeStruct((mesh.size, FLAGS.length, 2, model.head_size), jnp.bfloat16, sharding=rows)
    segments = jax.ShapeDtypeStruct((mesh.size, FLAGS.length), jnp.int32, sharding=rows)
    with jax.set_mesh(mesh):
        jax.jit(run).lower(q, segments, q).compile()
    return {"words": [scheduled_words(Path(dump), call) for call in CALLS[kernel]]}


def scheduled_words(dump: Path, call: str) -> int:
    """Instruction words in the compiler's last schedule of a kernel call."""
    file = next(dump.glob(f"*-{call}*schedule-analysis_final_bundles.txt"))
    found = re.search(r"total scheduled bundles:\s+(\d+)", file.read_text())
    assert found
    return int(found[1])


def chips_mesh() -> Any:
    """The slice's chips, the batch split over all."""
    from jax.experimental import topologies

    return sharding.make_mesh(
        Mesh(), topologies.get_topology_desc(platform="tpu", topology_name=FLAGS.topology).devices
    )


def measure(positions: str, kernel: str, dropout: float, remat: str, words: list[int]) -> dict[str, Any]:
    """Compiles one case and reads its accounts."""
    import jax

    mesh = chips_mesh()
    model = Model(
        dtype="bfloat16",
        attention_dropout=dropout,
        positions=POSITIONS[positions],
        kernel=Variant(kernel),
        remat=remat,  # type: ignore[arg-type]
        **SIZES[FLAGS.model],
    )
    step, arguments = training_step(model, mesh, FLAGS.rows * mesh.size)
    with jax.set_mesh(mesh):
        lowered = step.lower(*arguments)
        start = time.perf_counter()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            needed = re.search(r"Used ([\d.]+G) of ([\d.]+G) hbm", str(error))
            return {
                "error": f"does not fit: {needed[1]} of {needed[2]}" if needed else str(error).splitlines()[0][:200]
            }
    memory = compiled.memory_analysis()
    outside, calls = cycles(compiled.as_text(), CALLS[kernel])
    accounts = {
        "outside": outside,
        "counted": sum(n * counted(kernel, model, i == 1) for i, n in enumerate(calls)),
        "scheduled": sum(n * w * FLAGS.rows * model.heads for n, w in zip(calls, words, strict=True)),
    }
    return {
        "compile_seconds": time.perf_counter() - start,
        "memory_gb": (memory.argument_size_in_bytes + memory.temp_size_in_bytes) / 1e9,
        "temporary_gb": memory.temp_size_in_bytes / 1e9,
        "cycles": accounts,
        "milliseconds": {a: (outside + accounts[a]) / CYCLES_PER_SECOND * 1e3 for a in ("counted", "scheduled")},
    }


def training_step(model: Model, mesh: Any, batch_size: int) -> tuple[Any, tuple[Any, Any]]:
    """The jitted step and its abstract arguments."""
    import jax
    import jax.numpy as jnp

    from bert_jax.objectives import Vocabulary
    from bert_jax.training.state import abstract_state
    from bert_jax.training.step import jit_train_step

    phase = Phase(steps=100, length=FLAGS.length, batch_size=batch_size, learning_rate=1e-4)
    config = Config(name="benchmark", model=model, phases=(phase,))
    objective = load("bert_jax.objectives", config.objective)(
        model, Vocabulary(size=model.vocab_size, pad=0, cls=2, sep=3, mask=4)
    )
    types = dict.fromkeys(("tokens", "segments", "positions", "token_types"), jnp.int32) | {"word_starts": jnp.bool_}
    rows = sharding.batch_sharding(mesh)
    batch = {n: jax.ShapeDtypeStruct((batch_size, FLAGS.length), t, sharding=rows) for n, t in types.items()}
    return jit_train_step(config, phase, objective, mesh), (abstract_state(config, mesh), batch)


def cycles(text: str, calls: tuple[str, ...]) -> tuple[int, list[int]]:
    """Estimated cycles of a compiled program, and how often it makes each kernel call; loops times their turns."""
    bodies: dict[str, list[str]] = {}
    for paragraph in re.split(r"\n\n", text):
        header = re.search(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$", paragraph, re.MULTILINE)
        if header:
            bodies["ENTRY" if "ENTRY" in header[0] else header[1]] = paragraph.splitlines()

    def walk(name: str) -> list[int]:
        total = [0] * (1 + len(calls))
        for instruction in bodies[name]:
            estimate = re.search(r'"estimated_cycles":"(\d+)"', instruction)
            total[0] += int(estimate[1]) if estimate else 0
            for i, call in enumerate(calls):
                total[1 + i] += bool(re.match(rf"\s*(ROOT )?%{call}[\w.]* = ", instruction))
            loop = re.search(r" while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)", instruction)
            if loop:
                turns = max(int(n) for line in bodies[loop[1]] for n in re.findall(r" constant\((\d+)\)", line))
                total = [a + turns * b for a, b in zip(total, walk(loop[2]), strict=True)]
        return total

    outside, *counts = walk("ENTRY")
    return outside, counts


def counted(kernel: str, model: Model, backward: bool) -> float:
    """Cycles of one kernel call by its matrix products and its memory traffic, whichever takes longer."""
    heads, length = FLAGS.rows * model.heads, FLAGS.length
    padded = lambda size: math.ceil(size / 128) * 128
    if kernel == "band":
        reach = model.positions.options.get("max_distance", length)
        plain, near = band.Band(reach, 0, length, LANES).products(length, length, backward)
        width = model.head_size
        matrix = plain * padded(width) + near * padded(2 * width)
    else:
        width = model.head_size * (2 if model.positions.name == "functional_relative" else 1)
        matrix = (5 if backward else 2) * length**2 * padded(width)
    traffic = (7 if backward else 4) * length * padded(width) * 2
    return heads * max(matrix / PRODUCTS_PER_CYCLE, traffic / BYTES_PER_CYCLE)


if __name__ == "__main__":
    cli.run(main, define)

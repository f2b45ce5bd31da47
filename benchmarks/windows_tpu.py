"""What attention within a window saves of a training step on a TPU, by length of row, by the TPU compiler's accounts.

    python benchmarks/windows_tpu.py --json=windows_tpu.json --png=windows_tpu.png
    python benchmarks/windows_tpu.py --lengths=8192 --topologies=v5e:2x4 --json=windows_tpu.json     # adds to the file

No TPU is needed, the extra `tpu` is. BERT-base with rotary positions, bfloat16, LAMB, dropout but on attention, and so
many rows as make 8,192 tokens a chip. "global": every layer is global; "windows": every third is, the others attend to
64 tokens on each side. Both take splash. Columns:

- temporary: of the compiled step, GiB on each chip;
- outside: the compiler's estimated cycles of everything but the kernel calls;
- kernels: the instruction words that the compiler scheduled for one step of each kernel call, read from its dump of
  attention compiled alone, times the steps that are not skipped and the layers: waits for memory are not in them;
- ms: both, one after the other, at the chip's clock.

A case that the file of --json has is not compiled again.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from benchmarks.kernels_tpu import in_own_process, scheduled_words
from bert_jax.config import Config, Model, Phase
from configuration import cli
from configuration.variants import use

FLAGS = flags.FLAGS
LAYERS, HEADS, HEAD_SIZE = 12, 12, 64
WINDOW, GLOBAL_EVERY = 64, 3
CASES = ("global", "windows")
FORWARD, QUERIES, KEYS = "splash_mha_fwd", "splash_mha_dq", "splash_mha_dkv"  # the last with all, in rows of one block


def define() -> None:
    charts.define()
    flags.DEFINE_list("lengths", ["512", "1024", "2048", "4096", "8192"], "L, tokens in a row.")
    flags.DEFINE_list("topologies", ["v5e:2x4", "v6e:2x4"], "The slices.")
    flags.DEFINE_integer("tokens", 8192, "Of a chip.")
    flags.DEFINE_string("case", None, "One case as JSON, compiled in this process.")


def main() -> dict[str, Any]:
    if FLAGS.case:
        case = json.loads(FLAGS.case)
        return words(**case) if "dump" in case else step(**case)
    file = Path(FLAGS.json) if FLAGS.json else None
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    drawn = {}
    print(f"{'':<32}{'temporary':>10}{'outside':>10}{'kernels':>10}{'ms':>8}{'of global':>11}")
    for topology in FLAGS.topologies:
        for length in map(int, FLAGS.lengths):
            pair = {name: cached(figures, file, topology, length, name) for name in CASES}
            for name, of in pair.items():
                print(line(f"{topology}, {length}, {name}", of, pair["global"]), flush=True)
            drawn[f"{topology}\n{length}"] = {
                name: of["milliseconds"] for name, of in pair.items() if "milliseconds" in of
            }
    charts.bars(drawn, "ms a step")
    return figures


def line(name: str, of: dict[str, Any], all_global: dict[str, Any]) -> str:
    """A line of the table."""
    if "error" in of:
        return f"{name:<32}{of['error']}"
    told = f"{name:<32}{of['temporary'] / 2**30:>10.2f}{of['outside'] / 1e6:>9.1f}M{of['kernels'] / 1e6:>9.1f}M"
    ratio = f"{of['milliseconds'] / all_global['milliseconds']:>11.2f}" if "milliseconds" in all_global else ""
    return f"{told}{of['milliseconds']:>8.1f}{ratio}"


def key(topology: str, length: int, name: str) -> str:
    """Of a case in the file."""
    return f"{topology} {length} {name}, {FLAGS.tokens} tokens"


def cached(figures: dict[str, Any], file: Path | None, topology: str, length: int, name: str) -> dict[str, Any]:
    """The figures of a case, compiled if they are not there."""
    here = key(topology, length, name)
    if here not in figures:
        figures[here] = accounts(topology, length, WINDOW if name == "windows" else 0)
        if file:
            cli.write_json(file, figures)
    return figures[here]


def accounts(topology: str, length: int, window: int) -> dict[str, Any]:
    """Bytes and cycles of a case."""
    from bert_jax.compile_tpu import chip_of

    done = in_fresh_process({"topology": topology, "length": length, "window": window})
    if "error" in done:
        return done
    calls = {reach: of_one_layer(topology, length, reach) for reach in {0, window}}
    for failed in calls.values():
        if "error" in failed:
            return failed
    local = sum(Model(layers=LAYERS, **windows(window)).is_local(layer) for layer in range(LAYERS))
    rows = FLAGS.tokens // length
    kernels = rows * (local * calls[window]["cycles"] + (LAYERS - local) * calls[0]["cycles"])
    milliseconds = (done["outside"] + kernels) / chip_of(topology).clock * 1e3
    return done | {"kernels": kernels, "calls": calls, "milliseconds": milliseconds}


def of_one_layer(topology: str, length: int, window: int) -> dict[str, Any]:
    """Cycles of one layer's kernel calls for one row."""
    with tempfile.TemporaryDirectory() as dump:
        case = {"topology": topology, "length": length, "window": window, "dump": dump}
        return in_fresh_process(case, LIBTPU_INIT_ARGS=f"--xla_jf_dump_to={dump} --xla_jf_dump_llo_text=true")


def in_fresh_process(case: dict[str, Any], **environment: str) -> dict[str, Any]:
    """One case in a process of its own."""
    return in_own_process(__file__, ("tokens",), case, **environment)


def windows(window: int) -> dict[str, int]:
    """The fields of the encoder."""
    return {"window": window, "global_every": GLOBAL_EVERY} if window else {}


def step(topology: str, length: int, window: int) -> dict[str, Any]:
    """Compiles the whole step."""
    from bert_jax import compile_tpu

    compile_tpu.use_compiler()
    model = Model(
        layers=LAYERS,
        max_length=length,
        positions=use("rotary"),
        attention_dropout=0.0,
        dtype="bfloat16",
        kernel=use("splash"),
        **windows(window),
    )
    rows = FLAGS.tokens // length * len(compile_tpu.topology_devices(topology))
    phase = Phase(steps=100, length=length, batch_size=rows, learning_rate=1e-4)
    config = Config(name="windows", model=model, phases=(phase,), optimizer=use("lamb"))
    figures = compile_tpu.examine(config, topology)
    return {"temporary": figures["memory"]["temporary"], "outside": figures["estimated_cycles"]}


def words(topology: str, length: int, window: int, dump: str) -> dict[str, Any]:
    """Compiles attention alone, forward and backward, and reads how long the schedule of its calls is."""
    import jax
    import jax.numpy as jnp

    from bert_jax import compile_tpu
    from bert_jax.config import Mesh
    from bert_jax.modeling.kernels import splash
    from bert_jax.modeling.visibility import within
    from bert_jax.runtime import sharding

    compile_tpu.use_compiler()
    mesh = sharding.make_mesh(Mesh(), compile_tpu.topology_devices(topology))

    def run(q: jax.Array, segments: jax.Array, gradient: jax.Array) -> Any:
        attend = lambda q: splash.attend(q, q, q, within(segments, window or None), scale=HEAD_SIZE**-0.5)
        out, pull = jax.vjp(attend, q)
        return out, pull(gradient)

    sharded = sharding.batch_sharding(mesh)
    q = jax.ShapeDtypeStruct((mesh.size, length, HEADS, HEAD_SIZE), jnp.bfloat16, sharding=sharded)
    segments = jax.ShapeDtypeStruct((mesh.size, length), jnp.int32, sharding=sharded)
    with jax.set_mesh(mesh):
        jax.jit(run).lower(q, segments, q).compile()
    blocks = splash.block_sizes(length, length, window or None, HEAD_SIZE, q.dtype)
    of_call = {call: scheduled_words(Path(dump), call) for call in (FORWARD, KEYS)}
    if not blocks.use_fused_bwd_kernel:
        of_call[QUERIES] = scheduled_words(Path(dump), QUERIES)
    steps = HEADS * splash.pairs_of_blocks(length, blocks.block_q, window or length)
    return {"words": of_call, "steps": steps, "cycles": steps * sum(of_call.values())}


if __name__ == "__main__":
    cli.run(main, define)

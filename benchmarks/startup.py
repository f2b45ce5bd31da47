"""From the start of the process to the end of the first step, without and with compiled programs on disk; and what
compiling costs by depth.

    python benchmarks/startup.py --json=startup.json --png=startup.png
    python benchmarks/startup.py --sizes=demo,base,large --depths=2,6,12,24

Starts `python -m bert_jax.train` on random text for one step of one row batch, first with an empty cache, then again,
each into a fresh work folder; base and large take 2 rows of 64 tokens, since their programs cost the same to compile
whatever the batch. The second table traces and compiles the step at several depths, everything else the same: layers
are scanned, so that it should stay flat.
"""

import concurrent.futures
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from configuration import cli

FLAGS = flags.FLAGS
SMALL = ("--config.phases.0.batch_size=2", "--config.phases.0.length=64")
SIZES = {
    "demo": ("configs/demo.py", ()),
    "base": ("configs/bert_base.py", SMALL),
    "large": ("configs/bert_large.py", SMALL),
}


def define() -> None:
    charts.define()
    flags.DEFINE_list("sizes", list(SIZES), "Which configurations.")
    flags.DEFINE_list("depths", ["2", "12", "24"], "Layers of the models that are compiled; empty for none.")
    flags.DEFINE_integer("starts", 1, "How often each is started again with programs on disk.", lower_bound=1)


def main() -> dict[str, Any]:
    figures: dict[str, Any] = {"starts": {}, "compile": {}}
    print(f"{'start to first step':<22}{'first':>10}{'again':>10}{'quicker':>10}")
    for size in FLAGS.sizes:
        figures["starts"][size] = s = starts(size, FLAGS.starts)
        print(f"{size:<22}{s['first']:>8.1f} s{s['again']:>8.1f} s{s['first'] / s['again']:>9.1f}×", flush=True)
    depths = [int(depth) for depth in FLAGS.depths]
    if depths:
        print(f"{'layers of 768':<22}{'trace':>10}{'compile':>10}")
    for depth in depths:
        figures["compile"][depth] = c = in_fresh_process(depth)
        print(f"{depth:<22}{c['trace']:>8.1f} s{c['compile']:>8.1f} s", flush=True)
    compiled = {f"{depth} layers of 768": values for depth, values in figures["compile"].items()}
    charts.bars(figures["starts"] | compiled, "seconds")
    return figures


def starts(size: str, again: int) -> dict[str, float]:
    """Seconds to the end of the first step: of the first start, and the median of the later ones."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        make_store(size, store)
        seconds = [start(size, store, Path(folder) / str(number), Path(folder)) for number in range(1 + again)]
    return {"first": seconds[0], "again": statistics.median(seconds[1:])}


def make_store(size: str, folder: Path) -> None:
    """Random text in the vocabulary of a configuration."""
    import tokenizers

    from configuration import flags as config_flags
    from data_pipeline.store.writer import write_store
    from data_pipeline.tokenizers import Tokenizer

    vocabulary = config_flags.read(SIZES[size][0]).model.vocab_size
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁w{i}" for i in range(vocabulary - 5))]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.NFKC()
    rng = np.random.default_rng(0)
    documents = [[rng.integers(5, vocabulary, 20).tolist() for _ in range(10)] for _ in range(200)]
    write_store(
        folder,
        {"train": documents[:180], "held_out": documents[180:]},
        vocab_size=vocabulary,
        tokenizer=Tokenizer("sentencepiece", backend.to_str()),
    )


def start(size: str, store: Path, workdir: Path, cache: Path) -> float:
    """Seconds until the first step is logged; the process is then ended."""
    config, changes = SIZES[size]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bert_jax.train", f"--config={config}", f"--workdir={workdir}"),
            *(f"--config.data.store={store}", "--config.log_every=1", f"--compilation_cache={cache / 'compiled'}"),
            *changes,
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        logged = workdir / "metrics.jsonl"
        while not (logged.exists() and logged.read_text().count("\n")):
            if process.poll() is not None:
                raise SystemExit(f"training ended: {process.stderr.read() if process.stderr else ''}")
            time.sleep(0.02)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


def in_fresh_process(depth: int, width: int = 768) -> dict[str, float]:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(compile_seconds, depth, width).result()


def compile_seconds(depth: int, width: int) -> dict[str, float]:
    """Seconds to trace and lower, and to compile, a step of a model so many layers deep."""
    from bert_jax import compile_tpu
    from bert_jax.runtime import sharding
    from bert_jax.training.state import abstract_state
    from bert_jax.training.step import jit_train_step

    config = training.make_config(training.Work(depth, width, 2, 64))
    mesh = sharding.make_mesh(config.mesh)
    step = jit_train_step(config, config.phases[0], training.make_objective(config), mesh)
    arguments = abstract_state(config, mesh), compile_tpu.abstract_batch(config, mesh)
    began = time.perf_counter()
    lowered = step.lower(*arguments)
    traced = time.perf_counter()
    lowered.compile()
    return {"trace": traced - began, "compile": time.perf_counter() - traced}


if __name__ == "__main__":
    cli.run(main, define)

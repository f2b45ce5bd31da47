"""Real training runs of a tiny model on a tiny store, each in a process of its own."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tokenizers

from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import Tokenizer

V, L, STEPS, EVERY = 101, 37, 40, 10
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONFIG = f"""
from bert_jax.config import Checkpoints, Config, Model, Phase
from configuration.variants import use

config = Config(
    name="tiny",
    model=Model(vocab_size={V}, layers=1, width=24, heads=3, mlp_width=48, max_length={L}),
    optimizer=use("adamw"),
    phases=(Phase(steps={STEPS}, length={L}, batch_size=8, learning_rate=1e-3, schedule=use("linear", warmup=2)),),
    cooccurrence=2.0,
    checkpoints=Checkpoints(every_steps={EVERY}, keep=20),
    log_every=1,
)
"""


def make_recipe(folder: Path) -> Path:
    """Writes tiny.py and the store that it reads into a folder; gives the file."""
    words = [*SPECIALS, *(f"▁w{i}" for i in range(V - len(SPECIALS)))]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.NFKC()
    rng = np.random.default_rng(0)
    lengths = [rng.integers(1, 15, rng.integers(1, 9)) for _ in range(60)]
    documents = [[rng.integers(5, V, n).tolist() for n in document] for document in lengths]
    write_store(
        folder / "store",
        {"train": documents[:50], "held_out": documents[50:]},
        vocab_size=V,
        tokenizer=Tokenizer("sentencepiece", backend.to_str()),
    )
    path = folder / "tiny.py"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def environment(devices: int = 1) -> dict[str, str]:
    """Of a process on so many devices of the CPU, which compiles as fast as the tests do and finds their plugins."""
    count = f"--xla_force_host_platform_device_count={devices}"  # the later of two counts
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    flags = f"{os.environ['XLA_FLAGS']} {count}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": path}


def start(recipe: Path, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen[str]:
    """Starts `python -m bert_jax.train` on so many devices of the CPU. A field's later value wins over an earlier."""
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(recipe.parent / "compiled"),  # the runs of a recipe compile once
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "bert_jax.train", f"--config={recipe}", f"--workdir={workdir}"]
    store = f"--config.data.store={recipe.parent / 'store'}"
    return subprocess.Popen(
        [*command, store, *flags],
        env=environment(devices) | compiled,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], seconds: float = 240) -> tuple[int, str]:
    """Waits for the end: exit code and what it said on stderr."""
    try:
        _, said = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, said


def run(recipe: Path, workdir: Path, *flags: str, devices: int = 1) -> tuple[int, str]:
    """`start` and `finish`."""
    return finish(start(recipe, workdir, *flags, devices=devices))


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_all(recipe: Path, workdir: Path, *flags: str, count: int = 2) -> list[subprocess.Popen[str]]:
    """Starts a run of several processes."""
    port = free_port()
    place = [f"--coordinator=127.0.0.1:{port}", f"--process_count={count}"]
    return [start(recipe, workdir, *place, f"--process_index={i}", *flags) for i in range(count)]


def wait_for_step(process: subprocess.Popen[str], workdir: Path, step: int, seconds: float = 240) -> None:
    """Until the run has logged `step`."""
    deadline = time.monotonic() + seconds
    while max(losses(workdir), default=0) < step:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, f"step {step} was not reached in {seconds} s"
        time.sleep(0.02)


def losses(workdir: Path) -> dict[int, float]:
    """The logged losses by step; half a last line is left out."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    records = [json.loads(line) for line in lines]
    assert len({record["step"] for record in records}) == len(records)
    return {record["step"]: record["loss"] for record in records}

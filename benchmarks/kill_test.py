"""Kills a run with `kill -9` at random moments, saves in flight included, and compares its end with a run left alone.

    python benchmarks/kill_test.py --kills=30 --seed=0 --json=kill_test.json

A tiny model on random tokens, 300 steps in two phases, a checkpoint every 5 steps. The moments are spread over the
whole life of the process, its start and end too. Fails unless parameters, moments and every logged loss are the same
to the bit.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tokenizers

from configuration import cli
from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import Tokenizer

V = 101
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CONFIG = f"""
from bert_jax.config import Checkpoints, Config, Model, Phase, use

config = Config(
    name="killed",
    model=Model(vocab_size={V}, layers=2, width=24, heads=3, mlp_width=48, max_length=37),
    optimizer=use("adamw"),
    phases=(
        Phase(steps=150, length=16, batch_size=8, learning_rate=1e-3),
        Phase(steps=150, length=37, batch_size=4, learning_rate=1e-3, microbatches=2),
    ),
    checkpoints=Checkpoints(every_steps=5),
    log_every=1,
)
"""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", default="", help="file for the figures")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = kill_test(Path(folder), flags.kills, random.Random(flags.seed)) | {"seed": flags.seed}
    print(
        f"{figures['kills']} kills, {figures['during_a_save']} of them with a save in flight, "
        f"{figures['in_the_loop']} between two steps of the loop; the end is "
        f"{'the same to the bit' if figures['same'] else 'DIFFERENT'}"
    )
    if flags.json:
        cli.write_json(Path(flags.json), figures)
    return 0 if figures["same"] else 1


def kill_test(folder: Path, kills: int, rng: random.Random) -> dict:
    """Two runs, one left alone, one killed so often; figures of both."""
    recipe(folder)
    finish(start(folder, "alone"))  # compiles, which later runs find done
    shutil.rmtree(folder / "alone")
    began = time.monotonic()
    finish(start(folder, "alone"))
    seconds = time.monotonic() - began

    in_flight = in_loop = done = ends = 0
    while done < kills:
        process = start(folder, "killed")
        before = steps_logged(folder / "killed")
        try:
            process.wait(timeout=rng.uniform(0, 1.1 * seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            in_flight += saving(folder / "killed")
            in_loop += steps_logged(folder / "killed") != before
        else:  # it came to its end: from the start once more
            finish(process)
            assert same(folder), f"the run differs after {done} kills"
            ends += 1
            shutil.rmtree(folder / "killed")
        print(f"kill {done} at step {steps_logged(folder / 'killed')}", file=sys.stderr)
    finish(start(folder, "killed"))
    return {
        "kills": kills,
        "during_a_save": in_flight,
        "in_the_loop": in_loop,
        "runs_compared": ends + 1,
        "seconds_alone": seconds,
        "same": same(folder),
    }


def recipe(folder: Path) -> None:
    """Writes the configuration and a store of random tokens."""
    words = {word: i for i, word in enumerate([*SPECIALS, *(f"▁w{i}" for i in range(V - len(SPECIALS)))])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.NFKC()
    rng = np.random.default_rng(0)
    documents = [[rng.integers(5, V, n).tolist() for n in rng.integers(1, 15, 6)] for _ in range(60)]
    tokenizer = Tokenizer("sentencepiece", backend.to_str())
    splits = {"train": documents[:50], "held_out": documents[50:]}
    write_store(folder / "store", splits, vocab_size=V, tokenizer=tokenizer)
    (folder / "killed.py").write_text(CONFIG, encoding="utf-8")


def start(folder: Path, name: str, *more: str) -> subprocess.Popen[bytes]:
    """Starts or goes on with a run."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "bert_jax.train", f"--config={folder / 'killed.py'}"]
    flags = [f"--workdir={folder / name}", f"--config.data.store={folder / 'store'}"]
    return subprocess.Popen([*command, *flags, *more], env=environment, stderr=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Waits for a run that must end well."""
    if code := process.wait():
        raise SystemExit(f"error: the run ended with exit code {code}")


def saving(workdir: Path) -> bool:
    """Whether a checkpoint was half-written."""
    return any(not re.fullmatch(r"\d+", path.name) for path in (workdir / "checkpoints").glob("*"))


def steps_logged(workdir: Path) -> int:
    """Whole lines of metrics.jsonl."""
    path = workdir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def same(folder: Path) -> bool:
    """Whether both runs ended with the same parameters, moments and logged losses."""
    import jax

    from bert_jax.checkpoints.manager import read_run, restore_params

    runs = [folder / name for name in ("alone", "killed")]
    logs = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    losses = [[(line["step"], line["loss"]) for line in log] for log in logs]
    (one, params, step), (_, others, other_step) = (
        (read_run(_newest(run))["checksums"], *restore_params(run)[1:]) for run in runs
    )
    whole = one == read_run(_newest(runs[1]))["checksums"]
    equal = all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(others), strict=True))
    return losses[0] == losses[1] and step == other_step and whole and equal


def _newest(workdir: Path):
    from etils import epath

    steps = (int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    return epath.Path(workdir / "checkpoints" / str(max(steps)))


if __name__ == "__main__":
    sys.exit(main())

"""Stops the whole command at random moments of every stage, and compares what it leaves with a run left alone.

    python benchmarks/kill_pretrain.py --stops=20 --seed=0 --json=kill_pretrain.json

`bert_jax.pretrain` with the demo's configuration and text, 60 steps. It is stopped in turn by `kill -9`, Ctrl-C and
SIGTERM, the first seconds and every stage included, and started again. Fails unless the store, the last checkpoint,
the logged losses, the evaluation, the filled masks and the exported files are the same to the bit.
"""

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import stopping

STEPS = 60
FLAGS = (
    "--config=configs/demo.py",
    f"--config.phases.0.steps={STEPS}",
    "--config.checkpoints.every_steps=10",
    "--config.evaluation.max_rows=64",
)
WHOLE_FILES = ("store/manifest.json", "evaluation.json", "fill_mask.json")  # the manifest has every shard's checksum


def contents(workdir: Path) -> dict[str, object]:
    """All that must not depend on how often a run was stopped."""
    files = [*(workdir / name for name in WHOLE_FILES), *(workdir / "huggingface").iterdir()]
    found: dict[str, object] = {
        str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    # The first step after a start is logged as well, whichever it is.
    found["losses"] = [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if line["step"] % 10 == 0]
    run = json.loads((workdir / "checkpoints" / str(STEPS) / "run" / "metadata").read_text())
    found["last checkpoint"] = run["checksums"]  # of the parameters and the moments
    return found


def main() -> int:
    """The command."""
    command = stopping.Stopped("bert_jax.pretrain", FLAGS, contents, r"^── (.*) → ")
    return stopping.run(command, stopping.parser(__doc__ or "", stops=20).parse_args())


if __name__ == "__main__":
    sys.exit(main())

"""Stops a suite at random moments, and compares its table with that of a suite left alone.

    python benchmarks/kill_suite.py --encoder=runs/demo --stops=12 --seed=0 --json=kill_suite.json

`bert_jax.suite` on tasks of topics (`--tasks=reuters_r8,newsgroups` for two), a twentieth of an epoch each, two seeds,
beside the same encoder untrained and the baselines. It is stopped in turn by `kill -9`, Ctrl-C and SIGTERM, and started
again. Fails unless the table and every prediction are the same to the bit.
"""

import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import stopping

FLAGS = (
    "--config=configs/suites/english.py",
    "--seeds=2",
    "--config.length=32",
    "--config.epochs=0.05",
    "--config.evaluations=2",
)


def contents(workdir: Path) -> dict[str, object]:
    """The table, and the predictions that it is made of."""
    files = [workdir / "table.json", workdir / "table.txt", *sorted(workdir.rglob("*_predictions.jsonl"))]
    return {str(path.relative_to(workdir)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> int:
    """The command."""
    parser = stopping.parser(__doc__ or "", stops=12)
    parser.add_argument("--encoder", required=True, help="any folder that bert_jax.load opens")
    parser.add_argument("--tasks", default="reuters_r8", help="of configs/suites/english.py, those that are fetched")
    flags = parser.parse_args()
    own = (f"--init_from={Path(flags.encoder).absolute()}", f"--tasks={flags.tasks}")
    command = stopping.Stopped("bert_jax.suite", (*FLAGS, *own), contents, r"^step \d+/\d+|^\w+:$")
    return stopping.run(command, flags)


if __name__ == "__main__":
    sys.exit(main())

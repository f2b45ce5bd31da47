"""Attacks every command: signals, damaged files, hostile folders and texts, wrong flags, full disks, runs that clash.

    python benchmarks/attacks.py --seed=1 --json=attacks.json
    python benchmarks/attacks.py --quick --kinds=signals,damaged

Each run draws new cases from the seed. A command must end without a traceback and without hanging; where it did not do
its work, with an exit code that says so and one line that names the thing; it writes nothing outside of its folder; and
what it found is what it finds unattacked, unless it says otherwise. Fails if a case fails; all of them are listed.
Needs the extra finetune.
"""

import argparse
import concurrent.futures
import importlib
import itertools
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.attacking import Case, Unavailable
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import World
from configuration import cli

KINDS = ("signals", "damaged", "folders", "texts", "wrong_flags", "full_disk", "mistakes")
QUICK = 3  # cases of each kind


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the cases; a new one by default")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which of them")
    parser.add_argument("--times", type=float, default=1, help="how often as many cases as usual")
    parser.add_argument("--quick", action="store_true", help=f"only {QUICK} cases of each kind")
    parser.add_argument("--only", default="", help="only cases whose name has this in it")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--folder", default="", help="keeps failed cases and what is attacked, for another run")
    parser.add_argument("--json", default="", help="file for the figures")
    flags = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        figures = attack(Path(flags.folder or temporary), flags)
    failed = sum(len(kind["failed"]) for kind in figures.values())
    print(f"{table(figures)}\nseed {flags.seed}, {(time.monotonic() - began) / 60:.0f} minutes")
    if flags.json:
        cli.write_json(Path(flags.json), {"seed": flags.seed, "kinds": figures})
    return 1 if failed else 0


def attack(folder: Path, flags: argparse.Namespace) -> dict[str, dict]:
    """Runs the cases of every kind; figures of each."""
    (folder / "shared").mkdir(parents=True, exist_ok=True)
    figures: dict[str, dict] = {}
    servers = Servers(2 * flags.jobs, folder / "shared")  # a case may have two processes
    try:
        world = World(folder / "world", servers)
        for name in flags.kinds.split(","):
            figures[name] = attack_by(name, world, servers, folder / name, flags)
            print(table({name: figures[name]}), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("stopped; the table has the kinds that are done", file=sys.stderr)
    finally:
        servers.close()
    return figures


def attack_by(name: str, world: World, servers: Servers, folder: Path, flags: argparse.Namespace) -> dict:
    """Runs the cases of a kind."""
    kind = importlib.import_module(f"benchmarks.attacking.{name}")
    count = QUICK if flags.quick else round(flags.times * kind.COUNT)
    cases = list(itertools.islice(kind.cases(world, random.Random(f"{name} {flags.seed}")), count))
    cases = [case for case in cases if flags.only in case.name]
    figures: dict = {"cases": len(cases), "passed": 0, "failed": {}, "unavailable": {}}
    with concurrent.futures.ThreadPoolExecutor(flags.jobs) as pool:
        folders = [folder / f"case {i}" for i in range(len(cases))]
        for case, complaints in zip(cases, pool.map(one, cases, itertools.repeat(servers), folders), strict=True):
            if isinstance(complaints, Unavailable):
                figures["unavailable"][case.name] = str(complaints)
            elif complaints:
                figures["failed"][case.name] = complaints
                print(f"{name}: {case.name}\n  " + "\n  ".join(complaints), file=sys.stderr, flush=True)
            else:
                figures["passed"] += 1
    return figures


def one(case: Case, servers: Servers, folder: Path) -> list[str] | Unavailable:
    """Complaints of a case, whose folder goes if there are none."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        complaints = case.run(servers, folder)
    except Unavailable as reason:
        complaints = reason
    except Exception:
        complaints = [f"the case itself fails: {traceback.format_exc()}"]
    if not complaints or isinstance(complaints, Unavailable):
        shutil.rmtree(folder, ignore_errors=True)
    return complaints


def table(figures: dict[str, dict]) -> str:
    """The figures as a table, and the cases that failed."""
    lines = [f"{'kind':14}{'cases':>7}{'passed':>8}{'failed':>8}"]
    for name, kind in figures.items():
        lines.append(f"{name:14}{kind['cases']:7}{kind['passed']:8}{len(kind['failed']):8}")
        lines += [f"  failed: {case}: {complaints[0]}" for case, complaints in kind["failed"].items()]
        reasons = sorted(set(kind["unavailable"].values()))
        lines += [f"  {list(kind['unavailable'].values()).count(reason)} left out: {reason}" for reason in reasons]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

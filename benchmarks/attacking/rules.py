"""What a command may do, whatever it is given."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from benchmarks.attacking.processes import Outcome

BAD_INPUT, BAD_USAGE, STOPPED = 1, 2, 130
TRACE = re.compile(
    r"Traceback \(most recent call last\)|Fatal Python error|panicked at|terminate called|Segmentation fault"
    r"|^\*\*\* |Check failed:|Exception ignored|RuntimeWarning|Warning: ",
    re.MULTILINE,
)
MOST_MEMORY = 4 << 30  # bytes; the models are tiny
LONGEST_LINE = 700  # characters
Snapshot = dict[str, tuple[int, int, int]]


def refused(outcome: Outcome, *named: str, codes: Collection[int] = (BAD_INPUT, BAD_USAGE)) -> list[str]:
    """Complaints unless the command says in one line that it does not work, and names the thing by one of `named`."""
    found = ended_well(outcome)
    if outcome.code not in codes:
        return [*found, f"exit code {outcome.code}, not {' or '.join(map(str, codes))}: {last_lines(outcome)}"]
    lines = outcome.error.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        found.append(f"{len(errors)} lines of error, which the last should be: {last_lines(outcome)}")
    elif len(errors[0]) > LONGEST_LINE:
        found.append(f"a line of {len(errors[0])} characters: {errors[0][:200]}")
    elif named and not any(name in errors[0] for name in named):
        found.append(f"the error names none of {', '.join(named)}: {errors[0]}")
    return found


def done_or_refused(outcome: Outcome, *named: str) -> list[str]:
    """Complaints unless the command has done its work, or `refused` it."""
    return ended_well(outcome) if outcome.code == 0 else refused(outcome, *named)


def ended_well(outcome: Outcome) -> list[str]:
    """Complaints about how a command ended, whatever it was to do."""
    found = []
    if outcome.ended:
        found.append(f"did not end in {outcome.seconds:.0f} s: {last_lines(outcome)}")
    if traced := TRACE.search(outcome.error + outcome.out):
        found.append(f"{traced[0]}: {last_lines(outcome, 6)}")
    if outcome.memory > MOST_MEMORY:
        found.append(f"took {outcome.memory / 1e9:.1f} GB")
    if outcome.left:
        found.append("left a process behind")
    return found


def last_lines(outcome: Outcome, number: int = 3) -> str:
    """The end of what a command said on stderr."""
    return " / ".join(outcome.error.splitlines()[-number:])[-900:]


def snapshot(folder: Path, *besides: str) -> Snapshot:
    """Sizes, times and modes of everything in a case's folder but for what is named, and the names around it."""
    found: Snapshot = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] not in besides and not path.is_dir():
            facts = path.lstat()
            found[str(name)] = (facts.st_size, facts.st_mtime_ns, facts.st_mode)
    own = f".{folder.name}."  # what a command prepares beside its output; those of other cases come and go meanwhile
    around = [name for name in os.listdir(folder.parent) if not name.lstrip(".").startswith("case ") or own in name]
    return found | {f"../{name}": (0, 0, 0) for name in around}


def written_outside(before: Snapshot, after: Snapshot) -> list[str]:
    """Complaints about files that a command has written, changed or removed where it has nothing to write."""
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"outside of its folder changed: {', '.join(changed[:5])}"] if changed else []

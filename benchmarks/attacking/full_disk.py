"""A disk that fills up in every writer: one line that names the file, nothing half, and the next start goes on.

A file cannot grow beyond a limit (RLIMIT_FSIZE), which needs no rights; where a small disk can be mounted, half of the
cases have a real one.
"""

import contextlib
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attacking import Case, rules
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import COMMANDS, World

COUNT = 40
FULL = re.compile(r"No space left|File too large|disk of .* is full|make room|free some space")
LARGEST = {"prepare": 5e4, "embed": 2e6}  # bytes beyond which a command's own files hardly grow


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """Every command in turn, and how much space there is for it."""
    while True:
        for name in COMMANDS:
            size = round(10 ** chance.uniform(1, 5.3))
            mounted = chance.random() < 0.5
            yield Case(
                f"{name}: {'a disk of' if mounted else 'files of at most'} {size:,} bytes",
                Full(world, name, size, mounted),
            )


class Full:
    """A command that has little space, and is run again with enough."""

    def __init__(self, world: World, name: str, size: int, mounted: bool):
        self.world, self.name, self.size, self.mounted = world, name, size, mounted

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS[self.name]
        with small_disk(folder, self.mounted) as (inner, fill):
            self.world.copy(inner, command.fresh)
            with fill(self.size):
                outcome = servers.run(inner, command.line, largest_file=0 if self.mounted else self.size)
            found = rules.ended_well(outcome)
            if outcome.code:
                found = rules.refused(outcome)
                if not found and not FULL.search(outcome.error):
                    found.append(f"does not say that the disk is full: {rules.last_lines(outcome)}")
                outcome = servers.run(inner, command.line)
                found += [f"run again: {each}" for each in rules.ended_well(outcome)]
            if outcome.code:
                return [*found, f"run again, it ends with {outcome.code}: {rules.last_lines(outcome)}"]
            return found + self.world.differs(self.name, inner)


@contextlib.contextmanager
def small_disk(folder: Path, wanted: bool) -> Iterator:
    """The folder to work in, and what takes all but so many bytes of its disk for a while."""
    if not wanted:
        yield folder, lambda size: contextlib.nullcontext()
        return
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        from benchmarks.attacking import Unavailable

        raise Unavailable("mounting a small disk is not allowed here; files of limited size stand for it")
    try:
        inner = disk / "case"
        inner.mkdir()
        yield inner, lambda size: filled(disk, size)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@contextlib.contextmanager
def filled(disk: Path, size: int) -> Iterator[None]:
    """Takes all but so many bytes of a disk."""
    import shutil

    (disk / "filler").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - size - 4096)))
    try:
        yield
    finally:
        (disk / "filler").unlink()

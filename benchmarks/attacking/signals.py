"""Signals at random moments of a command's life: the next start goes on, and the end is that of a run left alone."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attacking import Case, rules
from benchmarks.attacking.processes import ROOT, Outcome, Servers
from benchmarks.attacking.world import COMMANDS, World

COUNT = 60
STOPPED = ("prepare", "train", "pretrain", "finetune", "suite", "embed")
IMPORTS = 6  # seconds that Python's start and a command's imports take, or less


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """A command, a signal and a moment; half of them from Python's own start."""
    while True:
        name = chance.choice(STOPPED)
        number = chance.choice((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
        from_start, group = chance.random() < 0.5, chance.random() < 0.5
        work = world.seconds["pretrain" if name == "train" else name]  # the world's train finds its work done
        after = chance.uniform(0, IMPORTS if from_start else 1.05 * work)
        when = "of its start" if from_start else "of its work"
        said = f"{name}: {number.name} after {after:.2f} s {when}{', to its workers too' if group else ''}"
        yield Case(said, Stop(world, name, number, after, from_start, group))


class Stop:
    """A command that gets a signal, and is run again."""

    def __init__(self, world: World, name: str, number: signal.Signals, after: float, from_start: bool, group: bool):
        self.world, self.name, self.number, self.after = world, name, number, after
        self.from_start, self.group = from_start, group

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS[self.name]
        self.world.copy(folder, command.fresh)
        before = rules.snapshot(folder, *command.writes, "home", "temporary")
        run = servers.start if self.from_start else servers.run
        outcome = run(folder, command.line, number=self.number, after=self.after, group=self.group)
        found = [] if outcome.code == -signal.SIGINT and self.is_done(folder) else self.stopped(outcome)
        again = servers.run(folder, command.line)
        found += [f"run again: {each}" for each in rules.ended_well(again)]
        if again.code:
            return [*found, f"run again, it ends with {again.code}: {rules.last_lines(again)}"]
        found += self.world.differs(self.name, folder)
        return found + rules.written_outside(before, rules.snapshot(folder, *command.writes, "home", "temporary"))

    def is_done(self, folder: Path) -> bool:
        """Whether the command had done its work: a signal after that, while Python ends, is Python's own."""
        try:
            return not self.world.differs(self.name, folder)
        except (OSError, ValueError):
            return False

    def stopped(self, outcome: Outcome) -> list[str]:
        """Complaints about how the signal ended the command."""
        if not in_the_project(outcome):
            return []
        found = rules.ended_well(outcome)
        allowed = {
            signal.SIGINT: (0, rules.STOPPED),
            signal.SIGTERM: (0, rules.STOPPED, -self.number),
            signal.SIGKILL: (-self.number,) if outcome.sent else (0,),
        }
        if outcome.code not in allowed[self.number]:
            found.append(f"exit code {outcome.code}: {rules.last_lines(outcome)}")
        return found


def in_the_project(outcome: Outcome) -> bool:
    """Whether Python has come to the project's own files: before, Ctrl-C is its own."""
    return "Traceback" not in outcome.error or str(ROOT) in outcome.error

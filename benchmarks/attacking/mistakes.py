"""Mistakes with several processes: two runs on one folder, and processes of one run that differ."""

import concurrent.futures
import itertools
import random
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attacking import Case, rules
from benchmarks.attacking.processes import Outcome, Servers
from benchmarks.attacking.world import COMMANDS, World

COUNT = 10
DIFFERENCES = {
    "seed": "--config.seed=7",
    "learning rate": "--config.phases.0.learning_rate=2e-3",
    "configuration": "--config.model.dropout=0.2",
    "optimizer": "--config.optimizer.weight_decay=0.3",
    "store": "--config.data.store=other",
    "objective": "--config.objective.mask_rate=0.2",
}
TWICE = ("prepare", "train", "finetune", "embed")


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """In turn, two commands on one folder and two processes that differ."""
    twice, different = list(TWICE), list(DIFFERENCES)
    chance.shuffle(twice)
    chance.shuffle(different)
    for one, other, third in zip(
        itertools.cycle(twice), itertools.cycle(different[::2]), itertools.cycle(different[1::2])
    ):
        yield Case(f"{one} twice on one folder", Twice(world, one, chance.uniform(0, 1)))
        yield Case(f"two processes with another {other}", Different(world, other))
        yield Case(f"two processes with another {third}", Different(world, third))


class Twice:
    """Two starts of a command on one folder, a moment apart."""

    def __init__(self, world: World, name: str, later: float):
        self.world, self.name, self.later = world, name, later

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS[self.name]
        self.world.copy(folder, command.fresh)
        first, second = together(servers, folder, [command.line, command.line])
        found = [each for outcome in (first, second) for each in rules.done_or_refused(outcome, "another process")]
        if first.code and second.code:
            found.append("neither has done its work")
        again = servers.run(folder, command.line)
        if again.code:
            return [*found, f"run again, it ends with {again.code}: {rules.last_lines(again)}"]
        return found + self.world.differs(self.name, folder)


class Different:
    """Two processes of one run, the second with another flag: both end before anything is trained, and say why."""

    def __init__(self, world: World, what: str):
        self.world, self.what = world, what

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS["train"]
        self.world.copy(folder, command.fresh)
        if self.what == "store":
            tokens = folder / "text.txt"
            tokens.write_text(tokens.read_text()[:-3000])
            prepared = servers.run(folder, ["data_pipeline.prepare", "--config=tiny.py", "--output=other",
                                            "--config.data.tokenizer=existing",
                                            "--config.data.tokenizer.folder=run/store/tokenizer"])  # fmt: skip
            if prepared.code:
                return [f"the other store cannot be made: {rules.last_lines(prepared)}"]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        lines = [
            [*command.line, f"--coordinator=127.0.0.1:{port}", "--process_count=2", f"--process_index={i}", *more]
            for i, more in enumerate(([], [DIFFERENCES[self.what]]))
        ]
        found = []
        for outcome in together(servers, folder, lines):
            found += rules.refused(outcome, "differ from process 0", codes=(rules.BAD_INPUT,))
        if (folder / "run/metrics.jsonl").exists():
            found.append("something was trained")
        shutil.rmtree(folder / "run", ignore_errors=True)
        return found


def together(servers: Servers, folder: Path, lines: list[list[str]]) -> list[Outcome]:
    """Runs commands at the same time."""
    with concurrent.futures.ThreadPoolExecutor(len(lines)) as pool:
        return list(pool.map(lambda line: servers.run(folder, line), lines))

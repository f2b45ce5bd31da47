"""Damaged files of the project's own: the command says so in one line, makes them again, or needs nothing of them."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.attacking import Case, hostile, rules
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import COMMANDS, STEPS, World

COUNT = 40
TARGETS = (
    # files, commands that read them, and whether a checksum or a hash guards them
    ("run/store/**/*", ("train", "evaluate", "fill_mask"), True),
    ("run/checkpoints/*/**/*", ("train", "evaluate", "fill_mask", "embed", "convert", "pretrain"), True),
    ("run/*.json*", ("train", "pretrain", "evaluate", "report", "convert"), False),
    ("run/huggingface/*", ("import",), False),
    ("store/**/*", ("prepare",), True),
    ("tuned/**/*", ("predict", "finetune"), False),
    ("text.txt", ("prepare",), False),
    ("[td]*.jsonl", ("finetune",), False),
    ("many.txt", ("embed",), False),
)


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """A file, a way to damage it, and a command that reads it."""
    while True:
        pattern, commands, guarded = chance.choice(TARGETS)
        file = chance.choice(sorted(path for path in world.folder.glob(pattern) if path.is_file()))
        name, way = chance.choice(commands), chance.choice(list(WAYS))
        if file.suffix not in {"value": (".json", ".jsonl", ".safetensors"), "line": (".jsonl",)}.get(
            way, (file.suffix,)
        ):
            continue
        place = str(file.relative_to(world.folder))
        yield Case(f"{name}: {way} of {place}", Damage(world, name, place, way, guarded, chance.randrange(1 << 30)))


class Damage:
    """A command that meets a damaged file."""

    def __init__(self, world: World, name: str, file: str, way: str, guarded: bool, seed: int):
        self.world, self.name, self.file, self.way, self.guarded, self.seed = world, name, file, way, guarded, seed

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS[self.name]
        names = dict.fromkeys([*command.reads, *(["store"] if self.name == "prepare" else []), "home"])
        self.world.copy(folder, names)
        if self.name == "train" and "checkpoints" not in self.file:
            shutil.rmtree(folder / f"run/checkpoints/{STEPS}", ignore_errors=True)  # so that there is something to do
        WAYS[self.way](folder / self.file, random.Random(self.seed))
        besides = (*command.writes, "home", "temporary")
        before = rules.snapshot(folder, *besides)
        outcome = servers.run(folder, command.line)
        found = rules.done_or_refused(
            outcome, *self.file.split("/"), str(folder), "text_files", "run again", "data.sources"
        )
        if outcome.code == 0 and self.guarded and "damaged" not in outcome.error + outcome.out:
            found += self.world.differs(self.name, folder)
        return found + rules.written_outside(before, rules.snapshot(folder, *besides))


def changed(change: Callable[[bytearray, random.Random], Any]) -> Callable[[Path, random.Random], None]:
    """A way that changes a file's bytes."""

    def way(path: Path, chance: random.Random) -> None:
        content = bytearray(path.read_bytes())
        replaced = change(content, chance) if content else None
        path.write_bytes(replaced if isinstance(replaced, bytes | bytearray) else content)

    return way


def flip(content: bytearray, chance: random.Random) -> None:
    """A bit."""
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def overwrite(content: bytearray, chance: random.Random) -> None:
    """Some bytes by random ones."""
    start = chance.randrange(len(content))
    content[start : start + 16] = chance.randbytes(min(16, len(content) - start))


def value(path: Path, chance: random.Random) -> None:
    """A value of a JSON file, or of a line of it, by a hostile one."""
    if path.suffix == ".safetensors":
        size = int.from_bytes(path.read_bytes()[:8], "little")
        header = json.loads(path.read_bytes()[8 : 8 + size])
        encoded = hostile.dumps(hostile.spoil(header, chance))
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + path.read_bytes()[8 + size :])
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        number = chance.randrange(len(lines))
        lines[number] = hostile.dumps(hostile.spoil(json.loads(lines[number]), chance)).decode()
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_bytes(hostile.dumps(hostile.spoil(json.loads(path.read_text()), chance)))


def line(path: Path, chance: random.Random) -> None:
    """Half a line at the end, or a line twice."""
    lines = path.read_text().splitlines(keepends=True)
    chosen = chance.choice(lines)
    path.write_text("".join(lines) + (chosen if chance.random() < 0.5 else chosen[: len(chosen) // 2]))


def folder_instead(path: Path, chance: random.Random) -> None:
    """A folder of the file's name."""
    del chance
    path.unlink()
    path.mkdir()


WAYS: dict[str, Callable[[Path, random.Random], None]] = {
    "a flipped bit": changed(flip),
    "random bytes": changed(overwrite),
    "the first part": changed(lambda content, chance: content[: chance.randrange(len(content))]),
    "nothing": changed(lambda content, chance: b""),
    "zeros": changed(lambda content, chance: bytes(len(content))),
    "more at the end": changed(lambda content, chance: content + chance.randbytes(9)),
    "the loss": lambda path, chance: os.remove(path),
    "a folder instead": folder_instead,
    "value": value,
    "line": line,
}

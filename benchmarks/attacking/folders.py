"""Hostile folders of others: opened, or refused in one line; nothing of them runs, and nothing is written outside."""

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.attacking import Case, hostile, rules
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import World

COUNT = 80
TRAINING = ("--workdir=made", "--config.data.store=foreign/store")
OURS, PYTORCH, STORE = "foreign run", "foreign model", "foreign store"
READS = {
    PYTORCH: (
        ["bert_jax.convert", "--source=foreign", "--output=made"],
        ["bert_jax.embed", "--model=foreign", "--input=sentences.txt", "--output=made.npy"],
        ["bert_jax.fill_mask", "--workdir=foreign", "--text=the [MASK] turns"],
        ["bert_jax.finetune", "--config=task.py", "--init_from=foreign", "--workdir=made"],
    ),
    OURS: (
        ["bert_jax.evaluate", "--workdir=foreign"],
        ["bert_jax.fill_mask", "--workdir=foreign", "--text=the [MASK] turns"],
        ["bert_jax.convert", "--workdir=foreign", "--output=made"],
        ["bert_jax.train", "--config=tiny.py", "--config.init_from=foreign", *TRAINING],
        ["bert_jax.report", "--workdir=foreign"],
    ),
    STORE: (
        ["bert_jax.train", "--config=tiny.py", "--config.data.store=foreign", "--workdir=made"],
        ["data_pipeline.prepare", "--config=tiny.py", "--output=foreign"],
    ),
}  # fmt: skip
SOURCES = {PYTORCH: "run/huggingface", OURS: "run", STORE: "store"}
PARTIAL = (".made.npy.partial", ".made.npy.progress.json")  # what `embed` goes on from
OUTSIDE = (
    "../outside",
    "../../outside",
    "{}/outside",
    "a/../../outside",
    "file:///outside",
    "outside\0x",
    "~/outside",
    "..",
    "/",
)


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """A folder, what is wrong in it, and a command that opens it."""
    while True:
        kind = chance.choices((PYTORCH, OURS, STORE), (5, 3, 1))[0]
        way = chance.choice([*(["spoilt"] * 6), *WAYS[kind]])
        command = chance.choice(READS[kind])
        seed = chance.randrange(1 << 30)
        yield Case(f"{kind}: {way} ({seed}) by {' '.join(command)}", Foreign(world, kind, way, command, seed))


class Foreign:
    """A command that opens a hostile folder."""

    def __init__(self, world: World, kind: str, way: str, command: list[str], seed: int):
        self.world, self.kind, self.way, self.command, self.seed = world, kind, way, command, seed

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        self.world.copy(folder, ("tiny.py", "text.txt", "task.py", "train.jsonl", "dev.jsonl", "sentences.txt"))
        shutil.copytree(self.world.folder / SOURCES[self.kind], folder / "foreign", symlinks=True)
        chance = random.Random(self.seed)
        if self.way == "spoilt":
            spoil(folder / "foreign", chance)
        else:
            WAYS[self.kind][self.way](folder / "foreign", chance)
        besides = ("home", "temporary", "made", "made.npy", *PARTIAL, *(["foreign"] if self.kind != PYTORCH else []))
        before = rules.snapshot(folder, *besides)
        outcome = servers.run(folder, self.command)
        named = ("foreign", *(path.name for path in (folder / "foreign").rglob("*")), "config.", "outside")
        found = rules.done_or_refused(outcome, *named)
        if (folder / "ran").exists():
            found.append("code of the folder has run")
        return found + rules.written_outside(before, rules.snapshot(folder, *besides))


def spoil(folder: Path, chance: random.Random) -> None:
    """Hostile values in one of the folder's JSON files, up to three."""
    files = sorted(path for path in folder.rglob("*.json") if path.stat().st_size < 1 << 20)
    file = chance.choice(files)
    tree = json.loads(file.read_text())
    for _ in range(chance.randint(1, 3)):
        tree = hostile.spoil(tree, chance)
        if not isinstance(tree, dict | list):
            break
    file.write_bytes(hostile.dumps(tree))
    if file.name == "manifest.json" and b"[[[[" not in file.read_bytes():
        resign(file)


def nested(folder: Path, chance: random.Random) -> None:
    """A JSON file that is nothing but brackets."""
    opening = chance.choice(('{"a":', "["))
    chance.choice(sorted(folder.rglob("*.json"))).write_text(opening * 200_000)


def weight_map(folder: Path, chance: random.Random) -> None:
    """An index of weights whose files lie elsewhere, or that is of another shape."""
    (folder / "model.safetensors").rename(folder.parent / "outside")
    place = chance.choice(OUTSIDE).format(folder.parent)
    maps: list[Any] = [{"a": place}, {"a": None}, {"a": 3}, [place], None, {"a": [place]}, {}, place]
    index = {"metadata": {}, "weight_map": chance.choice(maps)}
    content = chance.choice([index, index, index, [index], {"weight_map": {}}, {}])
    (folder / "model.safetensors.index.json").write_text(json.dumps(content))


class Payload:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch ran",))


def pickled(folder: Path, chance: random.Random) -> None:
    """Weights as a pickle that runs code, beside or instead of an archive as PyTorch writes it."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Payload()}, protocol=chance.choice((0, 2, 4))))


def pickled_archive(folder: Path, chance: random.Random) -> None:
    """An archive as PyTorch writes it, whose pickle runs code."""
    import zipfile

    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Payload()}, protocol=2))
        archive.writestr(chance.choice(("archive/version", "../outside", "archive/../../outside")), "3\n")


def header(folder: Path, chance: random.Random) -> None:
    """Weights whose header lies: of its own size, or of the arrays'."""
    file = folder / "model.safetensors"
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if chance.random() < 0.4:
        wrong = chance.choice((0, 1, size - 1, size + 1, len(content), 10**9, 2**63, 2**64 - 1))
        file.write_bytes(wrong.to_bytes(8, "little") + content[8:])
        return
    tree = json.loads(content[8 : 8 + size])
    name = chance.choice([name for name in tree if name != "__metadata__"])
    tree[name][chance.choice(("shape", "dtype", "data_offsets"))] = chance.choice(
        [[10**12], [2**63, 2**63], [-1], [0, 10**15], "F64", "I8", "X", [], None, [1.5], [5, 1]]
    )
    encoded = json.dumps(tree).encode()
    file.write_bytes(len(encoded).to_bytes(8, "little") + encoded + content[8 + size :])


def instead(folder: Path, chance: random.Random) -> None:
    """A pipe, a folder, a link to nowhere, to itself, to a device, or to a folder instead of a file."""
    file = chance.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    file.unlink()
    way = chance.choice(("pipe", "folder", "nowhere", "itself", "/dev/zero", "/dev/full", ".."))
    if way == "pipe":
        os.mkfifo(file)
    elif way == "folder":
        file.mkdir()
    else:
        file.symlink_to({"nowhere": "/no/such/file", "itself": file.name}.get(way, way))


def elsewhere(folder: Path, chance: random.Random) -> None:
    """A work folder whose configuration names a store and checkpoints outside."""
    file = folder / "config.json"
    tree = json.loads(file.read_text())
    (folder / "store").rename(folder.parent / "outside")
    place = chance.choice([*OUTSIDE, "gs://bucket/store", "http://127.0.0.1:9/store", "memory://x"]).format(
        folder.parent
    )
    tree["data"]["store"] = place
    if chance.random() < 0.5:
        (folder / "checkpoints").rename(folder.parent / "outside/checkpoints")
        tree["checkpoints"]["folder"] = place
    file.write_text(json.dumps(tree))


def variants(folder: Path, chance: random.Random) -> None:
    """A work folder whose configuration names modules to import."""
    (folder.parent / "evil.py").write_text("open('ran', 'w').close()\ndef helper(): pass\n")
    file = folder / "config.json"
    tree = json.loads(file.read_text())
    name = chance.choice(
        ("evil", "evil.x", "os.path", "antigravity", "..", "../evil", "__main__", "a..b", "subprocess", "")
    )
    field = chance.choice(("objective", "optimizer", "transforms", "evaluators", "hooks", "loggers"))
    variant = {"name": name, "options": {}}
    tree[field] = [variant] if isinstance(tree[field], list) else variant
    if chance.random() < 0.3:
        tree["model"][chance.choice(("positions", "kernel", "init"))] = variant
    file.write_text(json.dumps(tree))


def manifest(folder: Path, chance: random.Random) -> None:
    """A store whose manifest names files outside of it, and is signed anew."""
    file = folder / "manifest.json"
    text = file.read_text()
    tree = json.loads(text)
    place = json.dumps(chance.choice(OUTSIDE).format(folder.parent))[1:-1]
    names = [path.name for path in folder.iterdir() if path.name in text and path.name != "manifest.json"]
    replaced = json.loads(json.dumps(tree).replace(chance.choice(names or ["train-00000.shard"]), place))
    file.write_text(json.dumps(replaced))
    resign(file)


def resign(file: Path) -> None:
    """Makes a manifest's own hash right again, as an attacker would."""
    tree = json.loads(file.read_text())
    if isinstance(tree, dict):
        tree.pop("sha256", None)
        digest = hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
        file.write_text(json.dumps(tree | {"sha256": digest}))


def sentence_steps(folder: Path, chance: random.Random) -> None:
    """The steps of sentence-transformers, with paths and types of all kinds."""
    place = chance.choice(OUTSIDE).format(folder.parent)
    kinds = ("models.Pooling", "models.Dense", "models.Transformer", "", "os.system")
    first = {"idx": 0, "name": "0", "path": chance.choice(("", place)), "type": "models.Transformer"}
    second = {"idx": 1, "name": "1", "path": chance.choice(("1_Pooling", place)), "type": chance.choice(kinds)}
    steps = [first, second]
    content = hostile.spoil(steps, chance) if chance.random() < 0.5 else steps
    (folder / "modules.json").write_bytes(hostile.dumps(content))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling/config.json").write_bytes(hostile.dumps(hostile.spoil(pooling, chance)))


SHARED: dict[str, Callable[[Path, random.Random], None]] = {"nested": nested, "something else instead": instead}
WAYS: dict[str, dict[str, Callable[[Path, random.Random], None]]] = {
    PYTORCH: SHARED
    | {
        "weight map": weight_map,
        "pickle": pickled,
        "archive": pickled_archive,
        "header": header,
        "steps": sentence_steps,
    },
    OURS: SHARED | {"elsewhere": elsewhere, "variants": variants},
    STORE: SHARED | {"manifest": manifest},
}

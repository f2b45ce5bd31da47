"""Hostile texts: a store that can be read, vectors and answers, or one line that names the file."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.attacking import Case, hostile, rules
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import World
from data_pipeline.store import Store

COUNT = 60
PARTIAL = (".made.npy.partial", ".made.npy.progress.json")  # what `embed` goes on from
PREPARE = ["data_pipeline.prepare", "--config=tiny.py", "--output=store"]


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """A kind of file, what is in it, and a command that reads it."""
    while True:
        kind = chance.choice(list(READERS))
        seed = chance.randrange(1 << 30)
        yield Case(f"{kind} ({seed})", Hostile(world, kind, seed))


class Hostile:
    """A command that reads a hostile text."""

    def __init__(self, world: World, kind: str, seed: int):
        self.world, self.kind, self.seed = world, kind, seed

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        name, write, command, needed = READERS[self.kind]
        self.world.copy(folder, ("tiny.py", "task.py", "train.jsonl", "dev.jsonl", *needed))
        file = folder / name
        write(file, random.Random(self.seed))
        made = (
            *PARTIAL,
            "home",
            "temporary",
            "made",
            "made.npy",
            "made.jsonl",
            "store",
            "store.preparing",
            "downloads",
        )
        before = rules.snapshot(folder, *made)
        outcome = servers.run(folder, command)
        named = (
            name,
            "config.data",
            "--text",
            "vocab_size",
            "documents",
            "held_out",
            "tokenizer",
            "label",
            "text_field",
        )
        found = rules.done_or_refused(outcome, *named)
        if outcome.code == 0 and command[0] == PREPARE[0]:
            Store.open(folder / "store", verify="checksums")
        return found + rules.written_outside(before, rules.snapshot(folder, *made))


def text(chance: random.Random) -> str:
    """Hostile words among ordinary ones."""
    parts = chance.choices([*hostile.TEXTS, "the old mill", "turns its wheel."], k=chance.randint(1, 12))
    extra = [
        "<ref " * 3000,
        "{{" * 5000,
        "[[" * 5000,
        "<!--" * 4000,
        "\u202e\u2066 desrever",
        "\r" * 500,
        "é\u0301" * 2000,
    ]
    return chance.choice(("\n", "\n\n", " ", "")).join([*parts, *chance.choices(extra, k=chance.randint(0, 2))])


def encoded(content: str, chance: random.Random) -> bytes:
    """In an encoding, at times the wrong one, at times cut within a character."""
    encoding = chance.choice(
        ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "gb18030", "shift-jis")
    )
    made = content.encode(encoding, errors="replace")
    return made[: chance.randrange(len(made) + 1)] if chance.random() < 0.2 else made


def plain(file: Path, chance: random.Random) -> None:
    """A text file."""
    way = chance.randrange(6)
    if way == 0:
        file.write_bytes(chance.randbytes(chance.randrange(1, 30_000)))
    elif way == 1:
        file.write_bytes(chance.choice((b"", b"\n" * 9999, b"\0" * 9999, b"\xff\xfe", b"\xef\xbb\xbf", b" " * 99_999)))
    elif way == 2:
        file.write_text("w" * 3_000_000 + "\n\nthe mill turns.")
    else:
        file.write_bytes(encoded("\n\n".join(text(chance) for _ in range(chance.randint(1, 60))), chance))


def json_lines(file: Path, chance: random.Random) -> None:
    """JSON-lines, with lines of every kind."""
    lines = [json.dumps({"text": text(chance), "label": chance.choice(("a", "b"))}).encode() for _ in range(40)]
    wrong = [
        b"[" * 100_000, b'{"text":' * 50_000, b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"", b"{}",
        b'{"text": null}', b'{"text": 3}', b'{"text": ["a"]}', b'{"text": "\\ud800 lone", "label": "a"}',
        b'{"text": "a", "text": "b", "label": "a"}', b'{"text": NaN}', b'{"text": 1' + b"0" * 9999 + b"}",
        b'{"label": {"a": 1}, "text": "x"}', b'{"label": null, "text": "x"}', b'{"text": "a\\u0000b", "label": "a"}',
    ]  # fmt: skip
    for _ in range(chance.randint(0, 2)):
        lines.insert(chance.randrange(len(lines)), chance.choice(wrong))
    file.write_bytes(chance.choice((b"\n", b"\n", b"\r\n")).join(lines))


def packed(file: Path, chance: random.Random) -> None:
    """JSON-lines in gzip, at times cut, damaged, or none."""
    json_lines(file, chance)
    content = bytearray(gzip.compress(file.read_bytes()))
    way = chance.randrange(5)
    if way == 0:
        content = content[: chance.randrange(len(content))]
    elif way == 1:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif way == 2:
        content += b"garbage"
    elif way == 3:
        content = bytearray(gzip.compress(b'{"text": "' + b"a" * 40_000_000 + b'"}'))
    file.write_bytes(bytes(content))


def parquet(file: Path, chance: random.Random) -> None:
    """A table: other types, a column twice, text that is not UTF-8, nulls, no rows, damaged."""
    import pyarrow
    from pyarrow import parquet as tables

    texts = [text(chance) for _ in range(30)]
    wrong = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pyarrow.py_buffer(b"ab\xff\xfe")]
    )
    columns = chance.choice(
        [
            ([texts], ["text"]), ([texts, texts], ["text", "text"]), ([wrong], ["text"]), ([[1, 2]], ["text"]),
            ([[None, None]], ["text"]), ([pyarrow.array([], pyarrow.string())], ["text"]), ([texts], ["other"]),
            ([[["a"], ["b"]]], ["text"]), ([[b"a", b"\xff"]], ["text"]), ([[{"a": 1}]], ["text"]),
            ([pyarrow.array([None, *texts], pyarrow.large_string())], ["text"]),
            ([pyarrow.array(texts * 2).dictionary_encode()], ["text"]),
        ]
    )  # fmt: skip
    tables.write_table(pyarrow.Table.from_arrays(list(map(pyarrow.array, columns[0])), names=columns[1]), file)
    if chance.random() < 0.35:
        content = bytearray(file.read_bytes())
        if chance.random() < 0.5:
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        file.write_bytes(content[: chance.randrange(len(content))] if chance.random() < 0.3 else content)


def wiki(file: Path, chance: random.Random) -> None:
    """A dump of MediaWiki with markup that never closes, and XML of all kinds."""
    from xml.sax.saxutils import escape

    clean = lambda value: "".join(c for c in value if c in "\t\n" or c >= " ")
    pages = ""
    for i in range(20):
        words = escape(clean(text(chance)) + chance.choice(MARKUP))
        pages += (
            f"<page><title>T{i}</title><ns>{chance.choice(('0', '0', 'x', '', '-1'))}</ns><text>{words}</text></page>"
        )
    content = f"<mediawiki>{pages}</mediawiki>".encode()
    way = chance.randrange(6)
    if way == 0:
        content = content[: chance.randrange(len(content))]
    elif way == 1:
        entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
        page = "<page><title>&a8;</title><text>&a8;</text></page>"
        content = f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><mediawiki>{page}</mediawiki>'.encode()
    elif way == 2:
        content = b"<mediawiki>" + b"<page>" * 50_000
    elif way == 3:
        content = content.replace(b"</text>", b"\xff</text>", 1)
    file.write_bytes(content)


MARKUP = (
    "<ref " * 2000, "{{convert|" * 2000, "[[File:" * 2000, "{|" * 2000, "''" * 5000, "<nowiki>" * 3000, "<!-- " * 3000,
    "{{lang|fr|" + "{{" * 900 + "}}" * 900, "==" * 5000, "&amp;" * 3000, "[[a|" * 2000 + "]]" * 2000, "<math>" * 2000,
)  # fmt: skip


def one_a_line(file: Path, chance: random.Random) -> None:
    """Texts, one a line."""
    file.write_bytes(encoded("\n".join(text(chance).replace("\n", " ") for _ in range(30)), chance))


def source(kind: str, name: str) -> list[str]:
    """Preparing a store of one file."""
    flags = [f"--config.data.sources.0={kind}", f"--config.data.sources.0.paths={name}"]
    return [*PREPARE, *flags, f"--config.data.tokenizer={'byte_level' if kind == 'parquet' else 'sentencepiece'}",
            "--config.data.tokenizer.vocab_size=300"]  # fmt: skip


Reader = tuple[str, Callable[[Path, random.Random], None], list[str], tuple[str, ...]]
EMBED = ["bert_jax.embed", "--model=run", "--output=made.npy"]
PREDICT = ["bert_jax.predict", "--workdir=tuned", "--output=made.jsonl"]
FINETUNE = ["bert_jax.finetune", "--config=task.py", "--init_from=run", "--workdir=made", "--config.epochs=0.1"]
READERS: dict[str, Reader] = {
    "text": ("a.txt", plain, source("text_files", "a.txt"), ()),
    "JSON-lines": ("a.jsonl", json_lines, source("json_lines", "a.jsonl"), ()),
    "JSON-lines in gzip": ("a.jsonl.gz", packed, source("json_lines", "a.jsonl.gz"), ()),
    "Parquet": ("a.parquet", parquet, source("parquet", "a.parquet"), ()),
    "MediaWiki": ("a.xml", wiki, source("mediawiki", "a.xml"), ()),
    "texts to embed": ("a.txt", one_a_line, [*EMBED, "--input=a.txt"], ("run",)),
    "records to embed": ("a.jsonl", json_lines, [*EMBED, "--input=a.jsonl"], ("run",)),
    "a table to embed": ("a.parquet", parquet, [*EMBED, "--input=a.parquet"], ("run",)),
    "records to predict": ("a.jsonl", json_lines, [*PREDICT, "--input=a.jsonl"], ("tuned",)),
    "texts to predict": ("a.txt", plain, [*PREDICT, "--input=a.txt"], ("tuned",)),
    "labelled records": ("a.jsonl", json_lines, [*FINETUNE, "--config.source.train=a.jsonl"], ("run",)),
}

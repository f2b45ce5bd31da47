"""Wrong flags: one line names the flag, and the exit code is 2 where the command line alone shows the mistake."""

import importlib
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.attacking import Case, rules
from benchmarks.attacking.processes import Servers
from benchmarks.attacking.world import COMMANDS, World
from configuration import usage

COUNT = 120
NUMBERS = ("two", "", "[1]", "{}", "null", "true", "0x10", "1,000", "١٢", "NaN", "-1", "2.5", "1e400", "9" * 25, "1 2")
BEYOND = ("-1", "1000000000000", "9223372036854775808", "NaN", "Infinity", "-Infinity", "1e30", "-0.5", "0")
SECONDS = 90
COMMAND_FLAGS = {
    "fill_mask": "--top=0 --top=x --top=-3 --step=x --text= --text=none --step=-1 --tpo=3",
    "embed": """
        --batch_size=-1 --batch_size=x --dimensions=-2 --dimensions=1000000000000 --dtype=float16 --pooling=maen
        --pooling= --output=vectors.txt --output=/no/such/folder/x.npy --input=none.txt --column=
        --normalise=perhaps --model=none --model= --input=. --imput=many.txt
    """,
    "convert": "--step=x --part=generator --dimensions=-1 --output= --output=run --workdir=none",
    "evaluate": "--evaluators=loss --evaluators=, --step=7 --step=bset --store=none --workdir= --stp=6",
    "finetune": """
        --seeds=0 --seeds=x --seeds=-1 --init_from=none --init_from= --config=none.py --config= --config=tiny.py
        --config=. --config.epochs=0 --config.epochs=NaN --config.length=7 --config.source.train=none.jsonl
        --config.source.tran=x --config.task=clasification --config.seed=-1 --config.batch_size=0
        --config.length=1000000000000 --config.seed=9223372036854775808 --config.learning_rate=-1 --config.dropout=2
        --config.dev_share=7 --config.batch_size=10000000000000 --config.task.pooling=x
        --config.transfer.frozen_layers=99 --config.evaluations=-1 --config.epochs=9e99
    """,
    "suite": """
        --seeds=0 --tasks=none --tasks=, --compare=none,run --config=task.py --config.none.epochs=2
    """,
    "predict": "--input=none --text=x --workdir=run --workdir=none --output=/no/such/x --inptu=x",
    "report": "--workdir=none --workdir= --wrokdir=run extra",
    "prepare": """
        --output= --output=text.txt --config=none.py --config=task.py --downloads=text.txt --outptu=x
        --config.data.held_out=1 --config.data.sources= --config.data.sources=none --config.data.workers=-1
        --config.data.sources.0.paths=none.txt --config.data.sources.0.pahts=x --config.data.sources.1=x
        --config.data.tokenizer.vocab_size=0 --config.data.tokenizer.vocab_size=1000000000000 positional
        --config.data.tokenizer.vocab_size=x --config.data.tokenizer=sentencepeice --config.data.words=none
        --config.data.cleaning.0=none --config.data.sentences=klingon --config.data.annotations=none
    """,
}  # a space between two


def cases(world: World, chance: random.Random) -> Iterator[Case]:
    """A command, and a flag or a field that cannot be right, or a name that is nearly one."""
    fields = list(usage.fields(importlib.import_module("bert_jax.config").Config))
    while True:
        if chance.random() < 0.4:
            name = chance.choice(list(COMMAND_FLAGS))
            flag = chance.choice(COMMAND_FLAGS[name].split())
            yield Case(f"{name} {flag}", Wrong(world, name, flag, False))
            continue
        name = chance.choice(("train", "train", "pretrain", "prepare"))
        flag, surely = chance.choice((of_another_type, beyond, misspelt, option))(fields, chance)
        yield Case(f"{name} {flag[:150]}", Wrong(world, name, flag, surely))


def of_another_type(fields: list[usage.Field], chance: random.Random) -> tuple[str, bool]:
    """A value that a field's type does not have; whether the command line alone shows it."""
    field = chance.choice([field for field in fields if field.kind in ("int", "float", "bool") or " | " in field.kind])
    values = [value for value in NUMBERS if not fits(field.kind, value)]
    return f"--config.{field.name}={chance.choice(values)}", True


def fits(kind: str, text: str) -> bool:
    """Whether a text is, in some way, of a field's type."""
    if kind == "bool":
        return text == "true"
    try:
        number = float(text)
    except ValueError:
        return False
    return kind == "float" or (kind == "int" and number.is_integer())


def beyond(fields: list[usage.Field], chance: random.Random) -> tuple[str, bool]:
    """A number that a field may not be able to have."""
    field = chance.choice([field for field in fields if field.kind in ("int", "float")])
    return f"--config.{field.name}={chance.choice(BEYOND)}", False


def misspelt(fields: list[usage.Field], chance: random.Random) -> tuple[str, bool]:
    """Nearly the name of a field, or a path that ends early or goes too far."""
    name = chance.choice([field for field in fields if field.kind != "variant"]).name
    at = chance.randrange(1, len(name))
    wrong = chance.choice(
        (name[:at] + name[at + 1 :] + "q", name + "x", name + ".x", f"{name[:at]}q{name[at:]}", "." + name)
    )
    return f"--config.{wrong}=1", "." in wrong


def option(fields: list[usage.Field], chance: random.Random) -> tuple[str, bool]:
    """A variant that there is not, or an option that it does not have."""
    name = chance.choice([field for field in fields if field.kind == "variant"]).name
    value = chance.choice(("lambb", "", "..", "os", "os.path", "a b", "../x", "3", "[]", "{}", "None", "é", "x" * 300))
    return (
        (f"--config.{name}={value}", False) if chance.random() < 0.5 else (f"--config.{name}.no_option={value}", False)
    )


class Wrong:
    """A command with a flag that is wrong."""

    def __init__(self, world: World, name: str, flag: str, surely: bool):
        self.world, self.name, self.flag, self.surely = world, name, flag, surely

    def __call__(self, servers: Servers, folder: Path) -> list[str]:
        command = COMMANDS[self.name]
        self.world.copy(folder, [*command.reads, "tiny.py"] if self.name not in ("train", "prepare") else command.fresh)
        besides = ("home", "temporary", *command.writes)
        before = rules.snapshot(folder, *besides)
        outcome = servers.run(folder, [*command.line, self.flag], seconds=SECONDS)
        field, _, value = self.flag.lstrip("-").partition("=")
        named = (*parts(field), *filter(None, [value]), "has no variant", "no option")
        if self.surely and outcome.code:
            found = rules.refused(outcome, *named, codes=(rules.BAD_USAGE,))
        else:
            found = rules.done_or_refused(outcome, *named)
        return found + rules.written_outside(before, rules.snapshot(folder, *besides))


def parts(field: str) -> list[str]:
    """Names by which a message can call a field: phases.0.steps, phases.steps, steps, and the variant before it."""
    names = [part for part in field.removeprefix("config.").split(".") if part]
    return [field, *names]

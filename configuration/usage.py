"""What --help prints: what a command does, its flags, and every field of the configuration.

A field's meaning is the comment beside it in the schema's source, so that it is written once, where the field is.
"""

import ast
import dataclasses
import importlib
import inspect
import io
import sys
import textwrap
import tokenize
import types
import typing
from collections.abc import Iterator
from typing import Any

from absl import flags

from configuration.variants import Variant

FLAGS = flags.FLAGS
ASKED = {"-?", "-h", "-help", "--help", "-helpshort", "--helpshort", "-helpfull", "--helpfull"}
SCHEMAS = "bert_jax.config"  # by name, since this package knows none of those that build on it
OURS = ("bert_jax", "benchmarks", "configuration", "data_pipeline", "launch")
WIDTH = 110  # columns


class Field(typing.NamedTuple):
    """A field of the configuration, as --help shows it."""

    name: str  # dotted
    kind: str
    default: str  # "" where the file must give it
    meaning: str


def text(schema: str = "Config") -> str:
    """The help of the command that runs, whose --config gives a `schema`."""
    return "\n".join(_lines(schema))


def _lines(schema: str) -> Iterator[str]:
    yield inspect.cleandoc(sys.modules["__main__"].__doc__ or "")
    yield "\nFlags:"
    for flag in own_flags():
        value = "" if flag.default is None else f" = {flag.default!r}"
        required = any("must have a value" in validator.message for validator in flag.validators)
        yield f"  --{flag.name}: {flag.flag_type()}{value}{', required' if required else ''}"
        yield _indented(flag.help or "")
    if "config" in FLAGS:
        yield (
            "\nFields of the configuration. The file of --config sets them, and flags override it. A list is a,b or\n"
            'JSON, ["a","b"]; in it .0 is the first, such as phases.0. A variant is the name of a file in the folder\n'
            "that its field names, and an option of that file is a field as well, such as\n"
            "--config.optimizer.weight_decay=0.1, also `name`."
        )
        for field in fields(getattr(importlib.import_module(SCHEMAS), schema)):
            yield f"  --config.{field.name}: {field.kind}{field.default and f' = {field.default}'}"
            yield _indented(field.meaning)


def _indented(words: str) -> str:
    return textwrap.fill(" ".join(words.split()), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)


def own_flags() -> list[flags.Flag]:
    """The command's flags, without those that libraries define."""
    by_module = FLAGS.flags_by_module_dict()
    ours = [name for name in by_module if name == sys.argv[0] or name.partition(".")[0] in OURS]
    return sorted((flag for name in ours for flag in by_module[name]), key=lambda flag: flag.name)


def fields(schema: type, within: str = "") -> Iterator[Field]:
    """Every field of a configuration's dataclass and of those in it."""
    hints, said = typing.get_type_hints(schema), meanings(schema)
    for field in dataclasses.fields(schema):
        name, hint = f"{within}{field.name}", hints[field.name]
        elements = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
        if dataclasses.is_dataclass(hint) and hint is not Variant:
            yield from fields(typing.cast(type, hint), f"{name}.")
        elif elements and dataclasses.is_dataclass(elements[0]) and elements[0] is not Variant:
            yield from fields(typing.cast(type, elements[0]), f"{name}.0.")
        else:
            yield Field(name, kind_of(hint), _default(field), said.get(field.name, ""))


def kind_of(hint: Any) -> str:
    """A type as a user writes its values: `int`, `post | pre`, `list of str`."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, arguments))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " | ".join(map(kind_of, arguments))
    if typing.get_origin(hint) is tuple:
        return f"list of {kind_of(arguments[0])}"
    if hint is types.NoneType:
        return "none"
    return "variant" if hint is Variant else hint.__name__


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _shown(field.default_factory())
    return "" if field.default is dataclasses.MISSING else _shown(field.default)


def _shown(value: Any) -> str:
    if isinstance(value, Variant):
        options = ", ".join(f"{name}={_shown(option)}" for name, option in value.options.items())
        return f"{value.name}({options})" if options else value.name or "''"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value) if value != "" else "''"


def meanings(schema: type) -> dict[str, str]:
    """The comment beside each field of a class, by the field's name."""
    source = textwrap.dedent(inspect.getsource(schema))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.end[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    (definition,) = typing.cast(list[ast.ClassDef], ast.parse(source).body)
    return {
        node.target.id: " ".join(comments[line] for line in range(node.lineno, _end(node) + 1) if line in comments)
        for node in definition.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _end(node: ast.AnnAssign) -> int:
    return node.end_lineno or node.lineno

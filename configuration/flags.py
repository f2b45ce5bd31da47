"""`--config=FILE` and `--config.field.of.field=value`: a typed configuration from the command line.

The file is Python and assigns a `Config` to the name `config`. Overrides are checked against the types of the
dataclasses, by pydantic, before anything else happens.
"""

import dataclasses
import importlib.util
import json
import os
import re
import signal
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from absl import flags

from configuration import usage
from configuration.variants import ConfigError, Variant, nearest

FLAGS = flags.FLAGS
READ_BY_ALL = ("data", "init_from")  # fields of bert_jax.config.Config that every command reads
BAD_USAGE = 2  # exit code of a wrong command line
C = TypeVar("C")
_overrides: dict[str, str] = {}
_schema = ["Config"]  # what --config gives, for --help


class UsageError(ConfigError):
    """An unknown field on the command line, or a value that it cannot have."""


def config_flag(required: bool = True) -> None:
    """--config"""
    _define("configs/demo.py", "model.layers=2 phases.0.steps=100 optimizer=adamw optimizer.weight_decay=0.1", required)


def task_flag() -> None:
    """--config, of a FineTuning"""
    _define("configs/tasks/polarity.py", "source.train=my.zip epochs=2 optimizer.weight_decay=0.1 task.pooling=mean")
    _schema[:] = ["FineTuning"]


def suite_flag() -> None:
    """--config, of a Suite, whose tasks the overrides are for"""
    _define("configs/suites/english.py", "epochs=2, or of one task: sick.source.train=my.tsv")
    _schema[:] = ["FineTuning"]


def vector_suite_flag() -> None:
    """--config, of a VectorSuite"""
    _define("configs/vectors/english.py", "sick_relatedness.source.test=SICK_test_annotated.txt")
    _schema[:] = ["VectorSuite"]


def _define(example: str, overrides: str, required: bool = True) -> None:
    said = " ".join(f"--config.{each}" if "=" in each else each for each in overrides.split())
    meaning = f"Configuration file ({example}). Any field can be overridden: {said}"
    flags.DEFINE_string("config", None, meaning, required=required)


def parse(argv: Sequence[str]) -> list[str]:
    """Takes `--config.x=v` (or `--config.x v`) out of the command line and gives the rest to absl.

    Ends the process after --help, and after one line on stderr, with exit code 2, where absl refuses the rest.
    """
    if not usage.ASKED.isdisjoint(argv[1:]):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` is no error
        print(usage.text(_schema[0]))
        raise SystemExit(0)
    for argument in argv:
        if any("\ud800" <= character <= "\udfff" for character in argument):  # bytes that Python could not decode
            encoding = sys.getfilesystemencoding()
            _refuse(f"{argument!a} is no text in the encoding {encoding}; for UTF-8 set PYTHONUTF8=1")
    rest, arguments = [], list(argv)
    while arguments:
        argument = arguments.pop(0)
        name = argument.lstrip("-")
        if argument.startswith("-") and name.startswith("config."):
            field, equals, value = name.removeprefix("config.").partition("=")
            _overrides[field] = value if equals else (arguments.pop(0) if arguments else "")
        else:
            rest.append(argument)
    try:
        return FLAGS(rest)
    except flags.Error as error:
        message = " ".join(str(error).replace("FATAL Flags parsing error:", "").split())
        message = re.sub(r"flag --(\w+)=None: .*", r"--\1=… is missing", message)
        _refuse(f"{message}; --help lists the flags")


def _refuse(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(BAD_USAGE)


def given() -> dict[str, str]:
    """The overrides of the command line: dotted field → text."""
    return dict(_overrides)


def from_flags() -> Any:
    """The configuration that the command line asks for: that of --config, with the overrides.

    Raises:
      ConfigError: a wrong field.
    """
    return override(read(FLAGS.config), _overrides)


def read(path: str, fields: Sequence[str] = READ_BY_ALL, schema: str = "Config") -> Any:
    """The `config` of a Python file.

    Args:
      fields: some that it must have.
      schema: the class of bert_jax.config that has them.

    Raises:
      ConfigError: no such file, nothing of that name and type in it, or a part of a configuration that stands beside
        `config` and is not used by it.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"--config={path}: no such file (configs/demo.py is one to start from)")
    assigned = vars(run_file(path))
    if "config" not in assigned:
        raise ConfigError(f"{path} assigns no `config`; the file must assign a bert_jax.config.{schema} to that name")
    config = assigned["config"]
    if isinstance(config, type) or not all(hasattr(config, name) for name in fields):
        raise ConfigError(
            f"{path}: `config` is {type(config).__name__}; the file must assign a bert_jax.config.{schema}"
        )
    # A part that was copied to the end of a recipe would otherwise be ignored silently.
    for field in dataclasses.fields(config):
        used = getattr(config, field.name)
        beside = assigned.get(field.name, used)
        composed = dataclasses.is_dataclass(used) or isinstance(used, tuple)
        if composed and type(beside) is type(used) and beside != used:
            raise ConfigError(
                f"{path}: `{field.name}` is not what `config` holds: write {schema}({field.name}={field.name}, …), or "
                "give it another name"
            )
    return config


def run_file(path: str, where: str = "") -> types.ModuleType:
    """Runs a Python file that the user gave.

    Raises:
      ConfigError: the file fails; the message begins with `where`, or the path.
    """
    spec = importlib.util.spec_from_file_location("given", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ConfigError as error:
        raise ConfigError(f"{where or path}: {error}") from None
    except (SyntaxError, NameError, ImportError, TypeError) as error:
        raise ConfigError(f"{where or path}: {type(error).__name__}: {error}") from None
    return module


def override(config: C, values: Mapping[str, str]) -> C:
    """The configuration with `values` (dotted field → text) in it, checked.

    Raises:
      UsageError: an unknown field (with the nearest right name) or a wrong value.
    """
    tree = to_dict(config)
    try:
        for field, text in values.items():
            if not _appended(type(config), tree, field.split("."), text):
                _set(tree, field.split("."), text, field)
        return from_dict(type(config), tree)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain dicts, lists, strings and numbers."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(schema: type[C], tree: Mapping[str, Any]) -> C:
    """The configuration that `to_dict` gave, checked against the dataclass `schema`.

    Raises:
      ConfigError: an unknown field or a value of the wrong type.
    """
    import pydantic

    try:
        config = pydantic.TypeAdapter(schema).validate_python(tree)
    except pydantic.ValidationError as error:
        raise ConfigError(_first_error(error)) from None
    _check_known(tree, to_dict(config), "config")
    return config


def _check_known(given: Any, known: Any, where: str) -> None:
    """Raises ConfigError for an unknown field, which validation ignores."""
    if isinstance(given, Mapping):
        for name, value in given.items():
            if name not in known:
                raise ConfigError(f"{where}.{name}: there is no field {name!r}{nearest(name, known)}")
            _check_known(value, known[name], f"{where}.{name}")
    elif isinstance(given, (list, tuple)):
        for i, value in enumerate(given):
            _check_known(value, known[i], f"{where}.{i}")


def _first_error(error: Any) -> str:
    """One line for the first thing that pydantic found wrong."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # one of our own checks
        return str(first["ctx"]["error"])
    where = ".".join(str(part) for part in first["loc"])
    return f"config.{where} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _appended(schema: Any, tree: Any, path: list[str], text: str) -> bool:
    """Appends the text to a list at its first free index, as `data.annotations.0=capitals` to an empty one.

    Only lists of variants, texts or numbers grow so: other items, such as a phase, need more than a text.
    """
    *parents, last = path
    for part in parents:
        hints = typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) and schema is not Variant else {}
        if part not in hints:
            return False
        schema, tree = hints[part], tree[part]
    (element, *_) = typing.get_args(schema) or (None,)
    if not isinstance(tree, list) or last != str(len(tree)) or element not in (Variant, str, float):
        return False
    tree.append(dataclasses.asdict(Variant(text)) if element is Variant else text if element is str else value_of(text))
    return True


def _set(tree: Any, path: list[str], text: str, field: str) -> None:
    """Puts the text, as the value it stands for, into the tree."""
    part, *rest = path
    if _is_variant(tree) and (part not in tree or part == "name"):
        # --config.optimizer.b1=… is short for --config.optimizer.options.b1=…; the variant's own file checks it.
        # `name` is an option as any other, such as that of tfds: the field alone, --config.optimizer=…, is the variant.
        _set_option(tree["options"], path, text, field)
    elif _is_variant(tree) and part == "options" and rest:
        _set_option(tree["options"], rest, text, field)
    elif not isinstance(tree, (dict, list)):
        raise ConfigError(
            f"config.{field} has a field too many: config.{field.removesuffix('.' + '.'.join(path))} is a value"
        )
    elif rest:
        _set(tree[_key(tree, part, field)], rest, text, field)
    else:
        key = _key(tree, part, field)
        tree[key] = _replacement(tree[key], text, field)


def _set_option(options: dict[str, Any], path: list[str], text: str, field: str) -> None:
    """An option of a variant, or one of a variant that an option names: objective.masking.longest."""
    name, *rest = path
    nested = options.get(name)
    if rest and isinstance(nested, str):
        listed = rest[0].isdigit()
        nested = options[name] = nested.split(",") if listed else dataclasses.asdict(Variant(nested))
    if rest and isinstance(nested, list):
        nested[:] = [dataclasses.asdict(Variant(each)) if isinstance(each, str) else each for each in nested]
    if rest and (_is_variant(nested) or isinstance(nested, list)):
        _set(nested, rest, text, field)
    else:
        options[".".join(path)] = value_of(text)


def _key(tree: Any, part: str, field: str) -> Any:
    if isinstance(tree, list):
        if part.isdigit() and int(part) < len(tree):
            return int(part)
        raise ConfigError(
            f"config.{field}: {part!r} is not a place in a list of {len(tree)} (counted from 0); the whole list is "
            "set by its field alone"
        )
    if part not in tree:
        raise ConfigError(f"config.{field}: there is no field {part!r}{nearest(part, tree)}")
    return part


def _replacement(old: Any, text: str, field: str) -> Any:
    if _is_variant(old):
        return dataclasses.asdict(Variant(text))
    if isinstance(old, str):
        return text
    value = value_of(text)
    if isinstance(old, list) and isinstance(value, str):
        items = [value_of(item) for item in value.split(",") if item]
        return [dataclasses.asdict(Variant(item)) if isinstance(item, str) else item for item in items]
    if isinstance(value, bool) != isinstance(old, bool) and isinstance(old, (bool, int, float)):
        wanted = "true or false" if isinstance(old, bool) else "a number"
        raise ConfigError(f"config.{field} is {text!r}; it must be {wanted}")
    return value


def _is_variant(tree: Any) -> bool:
    return isinstance(tree, dict) and set(tree) == {"name", "options"}


def value_of(text: str) -> Any:
    """Numbers, true, false, lists as JSON reads them; anything else is text, which may be a list, `a,b`."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"True": True, "False": False, "None": None}.get(text, text)

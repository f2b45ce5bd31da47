"""Variation points: a folder with one file per variant, found by name.

`use("lamb", weight_decay=0.01)` names a variant and its options in a config. `load` imports the
file `<package>/<name>.py` and checks the options against the signature of the function in it, so
that a misspelt option is one clear line before anything compiles, and adding a variant is adding
a file.
"""

import ast
import contextlib
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

LISTS = (tuple, list, Sequence)  # whose annotations say that an option is a list


class ConfigError(ValueError):
    """A configuration that cannot work. The message names the field, the value and the remedy."""


def require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise ConfigError(f"config.{name} is {value!r}; it must be {wanted}")


@dataclasses.dataclass(frozen=True)
class Variant:
    """The name of a file in a variation point's folder, and the options of its function."""

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", {name: _as_written(value) for name, value in self.options.items()})

    def __hash__(self) -> int:
        return hash((self.name, frozenset(self.options)))  # a value may be a dict, wrongly; that is said elsewhere


def _as_written(value: Any) -> Any:
    """An option as a config file writes it: JSON has plain dicts for variants, and lists for tuples."""
    if isinstance(value, dict) and set(value) == {"name", "options"}:
        return Variant(**value)
    return tuple(map(_as_written, value)) if isinstance(value, (list, tuple)) else value


def use(name: str, /, **options: Any) -> Variant:
    """Names a variant with its options: `use("lamb", weight_decay=0.01)`."""
    return Variant(name, options)


def names(package: str) -> list[str]:
    """The variants that `package` (such as "bert_jax.training.optimizers") holds, one for each file."""
    folder = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if not m.ispkg and not m.name.startswith("_"))


def module(package: str, name: str, function: str = "build") -> types.ModuleType:
    """Imports the variant's file.

    A name with a dot is a module of the user's own, such as "mine.objective": it need not be in the package. The name
    may come from an untrusted file, so that a module which has no such `function` is not run.

    Raises:
      ConfigError: there is no such file; the message gives the nearest right name.
    """
    if "." in name:
        return _own_module(package, name, function)
    known = names(package)
    if name not in known:
        raise ConfigError(f"{package} has no variant {name!r}{nearest(name, known)}")
    return importlib.import_module(f"{package}.{name}")


def _own_module(package: str, name: str, function: str) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{package} has no variant {name!r}, which is no name of a Python module either")
    try:
        found = importlib.util.find_spec(name)
        read = getattr(found.loader if found else None, "get_source", lambda name: None)
        source = read(name)
        if found is None:
            raise ModuleNotFoundError(f"No module named {name!r}")
        if function not in _bound(source or ""):
            raise ConfigError(f"{name!r} is no variant of {package}: {found.origin} defines no function {function}")
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{name!r}, to stand beside the variants of {package}, cannot be imported: {error}; its folder must be on "
            "Python's path (PYTHONPATH)"
        ) from None


def _bound(source: str) -> set[str]:
    """The names that a module's functions, assignments and imports bind, without running it."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def load(package: str, variant: Variant, function: str = "build") -> Callable[..., Any]:
    """The variant's `function` with its options bound.

    The options of a variant are the function's keyword-only parameters that have a default.

    Raises:
      ConfigError: no such variant, or an option that its function does not take.
    """
    build = getattr(module(package, variant.name), function)
    known = options_of(build)
    for option in variant.options:
        if option not in known:
            where = variant.name if "." in variant.name else f"{package}.{variant.name}"
            hint = "; another variant is chosen by its field alone, such as --config.optimizer=adamw"
            raise ConfigError(
                f"{where} has no option {option!r}{nearest(option, known)}{hint if option == 'name' else ''}"
            )
    return functools.partial(build, **check_types(build, variant))


def options_of(build: Callable[..., Any]) -> dict[str, Any]:
    """The options of a variant's function, with their defaults."""
    parameters = inspect.signature(build).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def check_types(build: Callable[..., Any], variant: Variant) -> dict[str, Any]:
    """The variant's options, each checked against its annotation; an int may stand for a float, `a,b` for a list."""
    hints = typing.get_type_hints(build)
    return {
        option: _checked(f"{variant.name}.{option}", value, hints.get(option, Any))
        for option, value in variant.options.items()
    }


def _checked(name: str, value: Any, hint: Any) -> Any:
    choices = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        choices = list(typing.get_args(hint))
    for choice in choices:
        origin = typing.get_origin(choice)
        if choice is Any:
            return value
        if choice is Variant and isinstance(value, str):
            return use(value)
        if origin is typing.Literal:
            if value in typing.get_args(choice):
                return value
        elif origin in LISTS:
            items = _items(value, choice) if isinstance(value, str) else value
            if isinstance(items, (tuple, list)):
                return tuple(items)
        elif choice is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif isinstance(value, bool) and choice is not bool:
            continue
        elif isinstance(value, origin or choice):
            return value
    wanted = (
        getattr(hint, "__name__", str(hint))
        if len(choices) == 1 and typing.get_origin(hint) is None
        else str(hint).replace("typing.", "")
    )
    raise ConfigError(f"option {name}={value!r} is not {wanted}")


def _items(text: str, hint: Any) -> list[Any]:
    """The items of a list that is written `a,b`; numbers where the list is one of numbers."""
    kinds = [kind for kind in (int, float) if kind in typing.get_args(hint)]
    return [_number(each, kinds) for each in text.split(",") if each]


def _number(text: str, kinds: Iterable[type]) -> Any:
    """The text as the first kind of number that it is, or as it stands."""
    for kind in kinds:
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, and what there is, for an error message."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (there are: {', '.join(known) or 'none'})"

"""Untrusted files: read completely and checked, or refused in one line."""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from configuration.variants import ConfigError

OURS = ("bert_jax", "configuration", "data_pipeline")
LARGEST_JSON = 1 << 28  # bytes; the largest tokenizer.json has about 40 MB
T = TypeVar("T")


class FormatError(ConfigError):
    """A folder that is not what it should be, or a model that its format cannot express."""


def is_ours(error: Exception) -> bool:
    """Whether an error is one of the project's, whose message is for the user."""
    return type(error).__module__.partition(".")[0] in OURS


@contextlib.contextmanager
def understood(name: object) -> Iterator[None]:
    """Turns errors in the block from values of a wrong type or shape into one line that names their file.

    Raises:
      FormatError: the file cannot be understood.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if is_ours(error):
            raise
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise FormatError(f"{name} is damaged, or a file of another kind: {reason:.200}") from error


def why_not_read(file: Path, most: float = math.inf) -> str:
    """Why a file must not be read, "" for no reason: a pipe never ends, and a huge file fills the memory.

    Args:
      most: bytes.
    """
    if file.exists() and not file.is_file():
        return "no regular file"
    return f"larger than {most / 1e6:.0f} MB" if file.exists() and file.stat().st_size > most else ""


def read_bytes(file: Path, name: str = "", most: int = LARGEST_JSON) -> bytes:
    """The bytes of a file.

    Args:
      name: what messages call it, such as the option that names it; the path by default.
      most: bytes that are read.

    Raises:
      FormatError: not there, no regular file, or too large.
    """
    name = name or str(file)
    try:
        reason = why_not_read(file, most)
        content = b"" if reason else file.read_bytes()
    except (OSError, ValueError) as error:  # a zero byte in the path is a ValueError
        raise FormatError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if reason:
        raise FormatError(f"{name} is {reason}")
    return content


def read_text(file: Path, name: str = "", most: int = LARGEST_JSON) -> str:
    """The text of a file in UTF-8; arguments as of `read_bytes`.

    Raises:
      FormatError: as `read_bytes`, or not UTF-8.
    """
    try:
        return read_bytes(file, name, most).decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{name or file} is not UTF-8: byte at offset {error.start}") from None


def lies_in(folder: Path, named: str) -> bool:
    """Whether a path named by the configuration in a folder is within that folder, and no URL."""
    return "://" not in named and Path(named).resolve().is_relative_to(folder.resolve())


def read_json(file: Path, name: str = "") -> dict:
    """The object in a JSON file; `name` as of `read_bytes`.

    Raises:
      FormatError: not there, not JSON, or not an object.
    """
    name = name or str(file)
    text = read_text(file, name)
    try:
        content = json.loads(text)
    except RecursionError:
        raise FormatError(f"{name} cannot be read as JSON: it is nested too deep") from None
    except ValueError as error:  # not JSON, or a number of thousands of digits
        raise FormatError(f"{name} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise FormatError(f"{name} holds a {type(content).__name__}, not an object")
    return content


def typed(schema: type[T], content: Mapping[str, Any], name: str) -> T:
    """What a JSON file holds as a dataclass with every field of its type; other fields are left out.

    Args:
      name: what messages call the file.

    Raises:
      FormatError: a field is missing, or of another type.
    """
    return _validated(schema, content, name, strict=False)


def check_types(schema: Any, content: Mapping[str, Any], name: str) -> None:
    """Raises FormatError if a field of a JSON file is not of the type that a TypedDict says; others are not checked."""
    _validated(schema, content, name, strict=True)


def _validated(schema: Any, content: Mapping[str, Any], name: str, strict: bool) -> Any:
    import pydantic

    try:
        return pydantic.TypeAdapter(schema).validate_python(dict(content), strict=strict)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(f"{name} is damaged: {where}: {first['msg']}, not {first['input']!r:.60}") from None

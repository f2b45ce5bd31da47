"""Files that others wrote: read whole and checked, or refused in one line."""

import json
import math
from pathlib import Path

from configuration.variants import ConfigError

LARGEST_JSON = 1 << 28  # bytes; the largest tokenizer.json has about 40 MB


class FormatError(ConfigError):
    """A folder that is not what it should be, or a model that its format cannot express."""


def why_not_read(file: Path, most: float = math.inf) -> str:
    """Why a file is not to be read, "" for no reason: a pipe would never end, and what is too large fill the memory.

    Args:
      most: bytes.
    """
    if file.exists() and not file.is_file():
        return "no regular file"
    return f"larger than {most / 1e6:.0f} MB" if file.exists() and file.stat().st_size > most else ""


def lies_in(folder: Path, named: str) -> bool:
    """Whether a path that the configuration in a folder names is within that folder: no URL, and nothing beside it."""
    return "://" not in named and Path(named).resolve().is_relative_to(folder.resolve())


def read_json(file: Path) -> dict:
    """The object in a JSON file.

    Raises:
      FormatError: not there, not JSON, or not an object.
    """
    if reason := why_not_read(file, LARGEST_JSON):
        raise FormatError(f"{file} is {reason}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{file} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"{file} cannot be read as JSON: it is nested too deep") from None
    if not isinstance(content, dict):
        raise FormatError(f"{file} holds a {type(content).__name__}, not an object")
    return content

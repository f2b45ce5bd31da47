"""Files that others wrote: read whole and checked, or refused in one line."""

import json
from pathlib import Path

from configuration.variants import ConfigError

LARGEST_JSON = 1 << 28  # bytes; the largest tokenizer.json has about 40 MB


class FormatError(ConfigError):
    """A folder that is not what it should be, or a model that its format cannot express."""


def read_json(file: Path) -> dict:
    """The object in a JSON file.

    Raises:
      FormatError: not there, not JSON, or not an object.
    """
    if file.exists() and (not file.is_file() or file.stat().st_size > LARGEST_JSON):
        raise FormatError(f"{file} is no regular file, or larger than {LARGEST_JSON >> 20} MB")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FormatError(f"{file} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"{file} cannot be read as JSON: it is nested too deep") from None
    if not isinstance(content, dict):
        raise FormatError(f"{file} holds a {type(content).__name__}, not an object")
    return content

"""Labelled text for fine-tuning: one kind of source a file.

A kind's `build(*, …options) -> Labelled` fails at once, in one clear line, when there is nothing to
read. A file whose text column is known names it in `TEXT`: the column that is hashed to make a dev split;
elsewhere it is the column with the longest texts.
"""

import collections
import hashlib
import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from configuration import variants
from configuration.variants import ConfigError, Variant, nearest, require
from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import is_held_out

SPLITS = ("train", "dev", "test")


class Record(NamedTuple):
    """One labelled example."""

    values: dict[str, Any]  # by column
    where: str  # "train.tsv:17", for error messages


class Labelled(NamedTuple):
    """A labelled source."""

    read: Callable[[str], list[Record]]  # the records of a split, in the order of the files
    splits: tuple[str, ...]  # those that it has, of SPLITS


def open_records(
    variant: Variant, *, dev_share: float = 0.1, seed: int = 0, text: tuple[str, ...] = ()
) -> dict[str, list[Record]]:
    """The records of every split. A source without a dev split gets one, made of records of its train split.

    A record goes to dev by a hash of its text without white space in the form NFKC: equal texts, whatever their
    labels, go to the same side, and other records play no part.

    Args:
      dev_share: the share of all texts that goes to such a dev split; 0 makes none.
      seed: another seed is another split.
      text: the columns that are hashed; by default the source's own choice.

    Raises:
      ConfigError: no such source, option or column.
      DataError: a split without a record, or a file that cannot be read.
    """
    require(0 <= dev_share < 1, "dev_share", dev_share, "at least 0 and below 1")
    source = variants.load("data_pipeline.labelled", variant)()
    records = {split: source.read(split) for split in SPLITS if split in source.splits}
    for split, found in records.items():
        if not found:
            raise DataError(f"the {split} split of {variant.name} has no record; give files that hold some")
    if "dev" in records or "train" not in records or not dev_share:
        return records
    columns = text or _text_columns(variant, records["train"])
    sides: dict[bool, list[Record]] = {False: [], True: []}
    for record in records["train"]:
        written = "\n".join(_written(column(record, name)) for name in columns)
        sides[is_held_out(written, dev_share, seed)].append(record)
    for held, split in ((False, "train"), (True, "dev")):
        if not sides[held]:
            raise DataError(
                f"no record of {variant.name} falls to the {split} split when {dev_share:g} of the"
                f" {len(records['train'])} records go to dev; give a dev file, more records or another dev_share"
            )
    return {"train": sides[False], "dev": sides[True], **{s: records[s] for s in records if s != "train"}}


def column(record: Record, name: str) -> Any:
    """A record's value.

    Raises:
      ConfigError: it has no such column; the message gives the nearest right name.
    """
    if name not in record.values:
        raise ConfigError(f"{record.where} has no column {name!r}{nearest(name, record.values)}")
    return record.values[name]


def number(record: Record, name: str, remedy: str = "") -> float:
    """A record's number; `remedy` ends the message where there is none.

    Raises:
      ConfigError: it has no such column.
      DataError: the value is no finite number.
    """
    value = column(record, name)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{record.where}: {name} is {value!r}, which is no finite number{remedy}")
    return found


def digest(values: Iterable[Any]) -> str:
    """A hash of what records say, or of other values that JSON can hold, in their order."""
    found = hashlib.sha256()
    for value in values:
        found.update(json.dumps(value, default=str, sort_keys=True).encode())
    return found.hexdigest()


def check_text(record: Record, name: str) -> str:
    """A record's text.

    Raises:
      ConfigError: it has no such column.
      DataError: the value is no text, or has no visible character.
    """
    value = column(record, name)
    if not isinstance(value, str):
        raise DataError(f"{record.where}: column {name!r} holds no text but {value!r:.40}; name a column of text")
    if not any(map(_is_visible, value)):
        raise DataError(f"{record.where}: the text in column {name!r} is empty; remove this record or fill it in")
    return value


def _is_visible(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")


def _text_columns(variant: Variant, records: Sequence[Record]) -> tuple[str, ...]:
    """The file's own choice, else the column whose texts are longest."""
    stated = getattr(variants.module("data_pipeline.labelled", variant.name), "TEXT", "")
    if stated:
        return (stated,)
    lengths: collections.Counter[str] = collections.Counter()
    for record in records:
        lengths.update(_lengths(record.values))
    if not lengths:
        raise DataError(f"{records[0].where} has no column of text; name the columns of its text, or give a dev split")
    return (max(lengths, key=lambda name: lengths[name]),)


def _lengths(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: len(_written(value)) for name, value in values.items() if isinstance(value, (str, list))}


def _written(value: Any) -> str:
    """A value as text; words as a sentence."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)

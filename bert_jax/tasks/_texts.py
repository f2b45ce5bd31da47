"""Texts and pairs of texts as examples: [CLS] a [SEP], or [CLS] a [SEP] b [SEP], cut to a row's length.

Texts that are read each by itself are [CLS] a [SEP] [CLS] b [SEP], numbered within the example.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text
from data_pipeline.tokenizers import Tokenizer

Truncation = Literal["head", "tail", "head_tail", "windows"]
SHORTEST = 3  # tokens of a text that is read by itself: [CLS] token [SEP]
HEAD_SHARE = 0.25  # of what is kept by head_tail: 128 of 510 tokens, as Sun et al. 2019 (arXiv 1905.05583) found best


def encode(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    length: int,
    columns: Sequence[str],
    truncation: Truncation,
    stride: int,
    apart: bool = False,
) -> Encoded:
    """The examples of some records.

    Args:
      columns: one text, or two.
      truncation: how long texts are truncated: their head, their tail or both are kept, or they are read in windows
        that are `stride` tokens apart, each an example of its own. Of a pair, tokens are removed from the end of the
        longer text.
      apart: the texts of a pair are read each by itself, and cut to their heads.

    Raises:
      DataError: an empty text.
    """
    if apart:
        return encode_apart(records, tokenizer, length, columns, 0)
    texts = [[check_text(record, column) for record in records] for column in columns]
    ids = [tokenizer.encode_batch(column) for column in texts]
    rows, types, owners = [], [], []
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    for number in range(len(records)):
        for parts in cut([column[number] for column in ids], length, truncation, stride):
            rows.append([cls, *(token for part in parts for token in (*part, sep))])
            types.append([0] * (len(parts[0]) + 2) + [1] * sum(len(part) + 1 for part in parts[1:]))
            owners.append(number)
    return flat(rows, types, owners)


def cut(parts: list[list[int]], length: int, truncation: Truncation, stride: int) -> list[list[list[int]]]:
    """The texts of an example cut to a row of `length`; several examples for windows."""
    room = length - 1 - len(parts)
    if len(parts) == 2:
        first, second = parts
        shorter = min(len(first), len(second))
        if len(first) + len(second) > room:  # tokens are removed from the longer text first: `longest_first`
            shorter = min(shorter, room // 2)
            longer = room - shorter
            keep = (longer, shorter) if len(first) > len(second) else (shorter, longer)
            first, second = first[: keep[0]], second[: keep[1]]
        return [[first, second]]
    (text,) = parts
    if len(text) <= room:
        return [[text]]
    if truncation == "tail":
        return [[text[-room:]]]
    if truncation == "head_tail":
        head = max(1, int(room * HEAD_SHARE))
        return [[text[:head] + text[len(text) - (room - head) :]]]
    if truncation == "windows":
        firsts = [*range(0, len(text) - room, min(stride, room)), len(text) - room]
        return [[text[first : first + room]] for first in firsts]
    return [[text[:room]]]


def encode_apart(
    records: Sequence[Record], tokenizer: Tokenizer, length: int, columns: Sequence[str], text_length: int
) -> Encoded:
    """Examples of [CLS] text [SEP] for each column, one after the other.

    Raises:
      ConfigError: rows that have no room for so many texts.
      DataError: an empty text.
    """
    room = text_length or max(SHORTEST, length // len(columns))
    if room * len(columns) > length:
        raise ConfigError(
            f"config.length is {length}, and an example has {len(columns)} texts of {room} tokens each: set length to "
            f"{room * len(columns)} or more" + (", or task.text_length lower" if text_length else "")
        )
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    of = {c: tokenizer.encode_batch([check_text(record, c) for record in records]) for c in dict.fromkeys(columns)}
    rows = [[[cls, *of[c][i][: room - 2], sep] for c in columns] for i in range(len(records))]
    joined = [[token for text in row for token in text] for row in rows]
    encoded = flat(joined, [[0] * len(row) for row in joined], range(len(records)))
    lengths = np.array([len(text) for row in rows for text in row])
    starts = np.cumsum(lengths) - lengths
    numbers = np.tile(np.arange(len(columns), dtype=np.int32), len(records))
    positions = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    fields = {"text_numbers": np.repeat(numbers, lengths), "text_positions": positions.astype(np.int32)}
    ids = numbered([text for row in rows for text in row]).reshape(len(rows), len(columns))
    return encoded._replace(per_token=fields, per_example={"text_ids": ids})


def numbered(texts: Sequence[Sequence[int]]) -> np.ndarray:
    """int32 [n], equal for equal texts."""
    known: dict[tuple[int, ...], int] = {}
    return np.array([known.setdefault(tuple(text), len(known)) for text in texts], np.int32)


def flat(rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]], owners: Sequence[int]) -> Encoded:
    """Examples one after the other."""
    offsets = np.cumsum([0, *map(len, rows)])
    join = lambda parts: np.fromiter((x for part in parts for x in part), np.int32, int(offsets[-1]))
    return Encoded(join(rows), join(types), offsets, np.array(owners, np.int64))


def mean_over_windows(values: np.ndarray, encoded: Encoded, records: int) -> np.ndarray:
    """[n, C] of examples → [records, C]: the mean over those of each record."""
    sums = np.zeros((records, values.shape[1]))
    np.add.at(sums, encoded.records, values)
    return sums / np.bincount(encoded.records, minlength=records)[:, None]

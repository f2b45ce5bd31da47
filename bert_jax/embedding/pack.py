"""Packing of texts into rows with little padding and few shapes to compile."""

import bisect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SHORTEST = 3  # tokens of a text that rows have room for: [CLS] token [SEP]
EMPTY = -1  # marks an empty slot
STEPS = (32, 64, 96, 128, 192, 256, 384, 512)  # row lengths; beyond, multiples of 512

Row = list[int]  # numbers of its texts


class Packed(NamedTuple):
    """A batch of rows, L tokens each, with at most K = L // 3 texts."""

    tokens: np.ndarray  # int32 [B, L]
    segments: np.ndarray  # int32 [B, L], the text's number within the row from 1; 0 is padding
    positions: np.ndarray  # int32 [B, L], from 0 in each text
    texts: np.ndarray  # int64 [B, K], the number of each text in the list; EMPTY where there is none


def row_lengths(longest: int) -> tuple[int, ...]:
    """The lengths that rows may have where texts have up to `longest` tokens."""
    steps = [*STEPS, *range(1024, longest, 512)]
    return (*(length for length in steps if length < longest), longest)


def batches(
    texts: Sequence[Sequence[int]], lengths: Sequence[int], batch_tokens: int, width: int, devices: int = 1
) -> Iterator[Packed]:
    """All texts in batches, those of the longest rows first. A function of the texts and the arguments alone.

    Args:
      texts: the ids of each, special tokens included; none empty, none longer than the longest row.
      lengths: what rows may have, as `row_lengths` gives them.
      batch_tokens: of a batch on one device, at most (one row at least).
      width: D, by which attention's share of the work is known.
      devices: that share each batch's rows equally.
    """
    for length, rows in sorted(plan([len(text) for text in texts], lengths, width).items(), reverse=True):
        start = 0
        for rows_each in sizes(-(-len(rows) // devices), max(1, batch_tokens // length)):
            size = devices * rows_each
            yield assemble(texts, rows[start : start + size], size, length)
            start += size


def sizes(rows: int, most: int) -> list[int]:
    """Batch sizes with little padding and few distinct values: the largest, and powers of two from an eighth of it on.

    A total below that eighth is one batch of the next power of two.
    """
    least = max(1, 1 << (most // 8).bit_length() - 1) if most >= 8 else 1
    if rows < least:
        return [1 << (rows - 1).bit_length()]
    parts = [most] * (rows // most)
    rows %= most
    while rows > 0:
        parts.append(max(least, 1 << rows.bit_length() - 1))
        rows -= parts[-1]
    return parts


def plan(counts: Sequence[int], lengths: Sequence[int], width: int) -> dict[int, list[Row]]:
    """Which texts, of `counts` tokens each, share a row: the rows of each length.

    The longest text that is left opens a row, and the longest ones that fit fill it. Of the possible row lengths it
    gets the one with the least work per token, attention included. A row's pattern of lengths is repeated while there
    are texts for it, so that a million texts are planned in a second.
    """
    left: dict[int, list[int]] = {}
    for text in reversed(range(len(counts))):
        left.setdefault(counts[text], []).append(text)
    present = sorted(left)
    rows: dict[int, list[Row]] = {}
    while present:
        length, pattern = min(
            ((length, fill(length, present, left)) for length in lengths if length >= present[-1]),
            key=lambda found: work(found[0], width) / sum(n * times for n, times in found[1]),
        )
        for _ in range(min(len(left[n]) // times for n, times in pattern)):
            rows.setdefault(length, []).append([left[n].pop() for n, times in pattern for _ in range(times)])
        present = [n for n in present if left[n]]
    return rows


def fill(length: int, present: list[int], left: dict[int, list[int]]) -> list[tuple[int, int]]:
    """The lengths of the texts of one row, each with its number of texts: the longest that fit first."""
    pattern, documents, place = [], max(1, length // SHORTEST), len(present)
    while documents and (place := bisect.bisect_right(present, length, 0, place)):
        n = present[place - 1]
        times = min(length // n, len(left[n]), documents)
        pattern.append((n, times))
        length, documents, place = length - n * times, documents - times, place - 1
    return pattern


def work(length: int, width: int) -> float:
    """A row's cost over one token's matrix products: 24 D² per token and layer, 4 L D for attention."""
    return length * (1 + length / (6 * width))


def assemble(texts: Sequence[Sequence[int]], rows: Sequence[Row], size: int, length: int) -> Packed:
    """The arrays of some rows, and rows of padding up to `size`."""
    zeros = lambda: np.zeros((size, length), np.int32)
    numbers = np.full((size, max(1, length // SHORTEST)), EMPTY, np.int64)
    made = Packed(zeros(), zeros(), zeros(), numbers)
    for i, row in enumerate(rows):
        end = 0
        for number, text in enumerate(row):
            start, end = end, end + len(texts[text])
            made.tokens[i, start:end] = texts[text]
            made.segments[i, start:end] = number + 1
            made.positions[i, start:end] = np.arange(end - start)
        made.texts[i, : len(row)] = row
    return made

"""Lines cut into words, whose ids are found one by one."""

from collections.abc import Sequence

import numpy as np

END = "\0"  # the word that stands for the end of a line; never part of a text
Words = tuple[bytes, np.ndarray]  # one after the other, in UTF-8; where each ends, int32
SPACE, LINE_END, OTHER = 16, 32, 0  # classes of bytes
_CLASSES = bytes({0x20: SPACE, ord(END): LINE_END}.get(byte, OTHER) for byte in range(256))


def joined(lines: Sequence[str]) -> bytes:
    """Lines in UTF-8, a space before each, as before every word, and END after it."""
    return f" {f'{END} '.join(lines)}{END}".encode() if lines else b""


def at_spaces(text: bytes) -> Words:
    """The text cut before each space, and before and after each END."""
    return text, ends_of(last_of_words(np.frombuffer(text.translate(_CLASSES), np.uint8)))


def last_of_words(classes: np.ndarray) -> np.ndarray:
    """[n] classes → [n] bool, whether each byte is the last of a word: before a space or END, END itself, the last."""
    last = classes == LINE_END
    last[:-1] |= classes[1:] >= SPACE
    last[-1:] = True
    return last


def ends_of(last: np.ndarray) -> np.ndarray:
    """Where words end, int32, by whether each byte is the last of one."""
    return (np.flatnonzero(last) + 1).astype(np.int32)

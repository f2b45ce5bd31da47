"""Sources of text: one kind a file.

A source's `build(downloads, *, …options) -> Source` fails at once, in one clear line, when there is
nothing to read. `downloads` is a folder that outlives the run, for what is fetched; a file whose
`build` may fetch says `FETCHES = True`.

Reading is cut into parts of a few megabytes. The parts come in the same order every time; each is
small enough to hold in memory, can be sent to another process, and gives the same documents
whoever reads it. Work that is spread, interrupted and repeated is the work on parts.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PART_BYTES = 4 << 20
LONGEST_DOCUMENT = 16 << 20  # bytes; what is longer is cut, so that memory is bounded


@dataclasses.dataclass(frozen=True)
class Document:
    id: str  # where it was found, unique within its source
    text: str


@dataclasses.dataclass(frozen=True)
class Part:
    """Some documents next to each other; `read` must be picklable."""

    size: int  # bytes, as counted in `Source.size`
    read: Callable[[], Iterable[Document]]


@dataclasses.dataclass(frozen=True)
class Source:
    size: int  # bytes that the parts will add up to, for the progress bar; 0 when unknown
    parts: Callable[[], Iterator[Part]]
    about: str = ""  # what it is and under which licence, printed before reading
    inputs: tuple[Any, ...] = ()  # names, sizes and times of what is read: other inputs are another text


def in_parts(documents: Iterable[Document]) -> Iterator[Part]:
    """Parts of documents that were read already: for text that only one process can take apart."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.text.encode("utf-8", "replace"))
        if size >= PART_BYTES:
            yield Part(size, functools.partial(tuple, batch))
            batch, size = [], 0
    if batch:
        yield Part(size, functools.partial(tuple, batch))

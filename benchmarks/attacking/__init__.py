"""The cases of `benchmarks/attacks.py`: a file for each kind, drawn anew from a seed, and what they share.

A kind's file has `cases(world, random) -> Iterator[Case]` without end, and `COUNT`, how many a full run takes. A case
runs commands in a folder of its own, which holds copies of what it attacks, and gives complaints: what no rule allows.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.attacking.processes import Servers


@dataclasses.dataclass(frozen=True)
class Case:
    """An attack."""

    name: str  # what is done, in words
    run: Callable[["Servers", Path], list[str]]  # (servers, an empty folder) -> complaints; none where it is withstood


class Unavailable(Exception):
    """A case that this machine cannot run; says why."""

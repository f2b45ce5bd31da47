"""Evaluations of frozen vectors on labelled text, one a file: `build(*, …) -> Evaluation`.

Nothing is trained. Higher figures are better in every file.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.labelled import Record

PACKAGE = __name__
Embed = Callable[[Sequence[str]], np.ndarray]  # n texts → float32 [n, D]


class Evaluation(NamedTuple):
    """`evaluate(embed, records) -> figures`; `main` names the primary metric."""

    evaluate: Callable[[Embed, Sequence[Record]], dict[str, float]]
    main: str


def distinct(embed: Embed, *columns: Sequence[str]) -> list[np.ndarray]:
    """The vectors of each column's texts, float32 [n, D]; a text that stands more than once is encoded once."""
    number = {text: i for i, text in enumerate(dict.fromkeys(text for column in columns for text in column))}
    vectors = embed(list(number))
    return [vectors[[number[text] for text in column]] for column in columns]

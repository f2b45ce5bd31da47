"""What frozen vectors are worth on labelled text, one kind of evaluation a file: `build(*, …) -> Evaluation`.

Nothing is trained. In every file higher figures are better.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from data_pipeline.labelled import Record

PACKAGE = __name__
Embed = Callable[[Sequence[str]], np.ndarray]  # n texts → float32 [n, D]


class Evaluation(NamedTuple):
    """`evaluate(embed, records) -> figures`; `main` names the one that tells how good the vectors are."""

    evaluate: Callable[[Embed, Sequence[Record]], dict[str, float]]
    main: str


def distinct(embed: Embed, *columns: Sequence[str]) -> list[np.ndarray]:
    """The vectors of each column's texts, float32 [n, D]; a text that stands more than once is encoded once."""
    number = {text: i for i, text in enumerate(dict.fromkeys(text for column in columns for text in column))}
    vectors = embed(list(number))
    return [vectors[[number[text] for text in column]] for column in columns]

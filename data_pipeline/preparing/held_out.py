"""The held-out documents: whether there are enough, before anything is made of the text."""

from collections import Counter
from collections.abc import Mapping, Sequence

from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import split_of
from data_pipeline.sources import Source
from data_pipeline.store import SPLITS

_ENOUGH = {"train": 1, "held_out": 2}  # documents


def check_enough(sources: Sequence[Source], held_out: float) -> str:
    """Reads until both splits have documents enough, most often the first part; of text with too few, all of it.

    Returns:
      What is to be said of a split with a single document; "" where there are enough.

    Raises:
      DataError: a split has no document.
    """
    documents = dict.fromkeys(SPLITS, 0)
    for source in sources:
        for part in source.parts():
            documents_of = Counter(split_of(document, held_out) for document in part.read() if document.text.strip())
            for split, count in documents_of.items():
                documents[split] += count
            if all(documents[split] >= least for split, least in _ENOUGH.items()):
                return ""
    refuse_empty(documents, held_out)
    return (
        f"config.data.held_out={held_out} holds out 1 of {sum(documents.values())} documents, on which all held-out "
        "figures will rest; make it larger"
    )


def refuse_empty(documents: Mapping[str, int], held_out: float) -> None:
    """Raises DataError where one of the splits, by the number of its documents, is empty."""
    if not any(documents.values()):
        raise DataError("config.data.sources hold no text; check their paths and fields")
    for split, count in documents.items():
        if not count:
            total = sum(documents.values())
            raise DataError(f"config.data.held_out={held_out} of {total} documents leaves none to {split}; change it")

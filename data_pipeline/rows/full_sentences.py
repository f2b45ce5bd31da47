"""FULL-SENTENCES (Liu et al. 2019, RoBERTa, section 4.2): rows filled with whole sentences, across documents.

Sentences follow each other in the order of the store until the next does not fit; a row continues with
the next document. Only a sentence longer than a row is cut, into parts that fill a row, and its rest
continues like a sentence. Every token stands in exactly one row.

Documents that attend to each other: `[CLS] … [SEP] next document … [SEP]`, one separator between two
documents and one at the row's end. Isolated documents: `[CLS] … [SEP] [CLS] next document … [SEP]`.
"""

import functools

from data_pipeline.rows import RowFormat
from data_pipeline.rows._greedy import rows_of_sentences


def build(length: int, isolate: bool) -> RowFormat:
    """Rows of `length` tokens."""
    spans = functools.partial(rows_of_sentences, room=length - 2, separator=2 if isolate else 1, cross_documents=True)
    return RowFormat(spans, "piece" if isolate else "row")

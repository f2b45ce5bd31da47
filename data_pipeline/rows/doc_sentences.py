"""DOC-SENTENCES (Liu et al. 2019, RoBERTa, section 4.2): as full_sentences, but a row ends with its document.

`[CLS] sentences of one document [SEP]`, padded. Rows at the end of a document are short, so more of a
batch is padding; RoBERTa's paper enlarged the batch to make up for it, here `batch_size` says it all.
"""

import functools

from data_pipeline.rows import RowFormat
from data_pipeline.rows._greedy import rows_of_sentences


def build(length: int, isolate: bool) -> RowFormat:
    """Rows of `length` tokens. A row holds one document, so `isolate` changes nothing."""
    del isolate
    return RowFormat(functools.partial(rows_of_sentences, room=length - 2, separator=1, cross_documents=False), "row")

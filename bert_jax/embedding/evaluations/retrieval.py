"""Retrieval: a query finds the documents that answer it among all documents."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.embedding import sts
from bert_jax.embedding.evaluations import Embed, Evaluation, distinct
from bert_jax.embedding.search import search
from data_pipeline.labelled import Record, check_text, column
from data_pipeline.texts import open_texts

DEEPEST = 100  # documents looked at for each query


def build(*, query: str = "query", document: str = "document", grade: str = "", corpus: str = "") -> Evaluation:
    """The evaluation: ndcg@10, mrr@10 and recall@1, @10, @100 by the cosine, exactly.

    Args:
      query, document: columns of a query and of a document that answers it; a query has a record for each.
      grade: column of how well it does, above 0; empty for 1.
      corpus: file of more documents, .txt, .jsonl or .parquet with the column `document`; empty for none.
    """

    def evaluate(embed: Embed, records: Sequence[Record]) -> dict[str, float]:
        more = list(open_texts(Path(corpus), document).read()) if corpus else []
        documents = [check_text(record, document) for record in records]
        number = {text: i for i, text in enumerate(dict.fromkeys([*documents, *more]))}
        relevant: dict[str, dict[int, float]] = {}
        for record, text in zip(records, documents, strict=True):
            value = float(column(record, grade)) if grade else 1.0
            if value > 0:
                relevant.setdefault(check_text(record, query), {})[number[text]] = value
        asked, found = distinct(embed, list(relevant), list(number))
        _, ranked = search(asked, found, DEEPEST)
        return sts.retrieval(np.asarray(ranked), list(relevant.values()))

    return Evaluation(evaluate, "ndcg@10")

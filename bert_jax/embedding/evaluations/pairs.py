"""Pairs of texts: graded similarity as STS has it, or whether two texts belong together (pair classification)."""

from collections.abc import Sequence

import numpy as np

from bert_jax.embedding import sts
from bert_jax.embedding.evaluations import Embed, Evaluation, distinct
from configuration.variants import require
from data_pipeline.labelled import Record, check_text, column, number


def build(
    *,
    first: str = "first",
    second: str = "second",
    score: str = "score",
    positive: str = "",
    positive_from: float | None = None,
    leave_out_unscored: bool = False,
) -> Evaluation:
    """The evaluation; its figures are those of `sts.pairs`, whose sets are the files.

    Args:
      first, second: columns of the two texts.
      score: column of the score that people gave, or of a label.
      positive: the label of pairs that belong together, where the column holds labels; the main figure then is
        average_precision, else spearman ("all"; spearman_wmean is the other protocol).
      positive_from: the lowest score of a pair that belongs together; None for the middle of the range of scores.
      leave_out_unscored: passes over pairs with an empty score, which the files of STS 2014 and later have.
    """
    require(not positive or positive_from is None, "evaluation.positive_from", positive_from, "None with positive")

    def evaluate(embed: Embed, records: Sequence[Record]) -> dict[str, float]:
        if leave_out_unscored:
            records = [record for record in records if str(column(record, score)).strip()]
        given = np.array([grade(record, score, positive) for record in records])
        texts = [[check_text(record, name) for record in records] for name in (first, second)]
        vectors = np.stack(distinct(embed, *texts), axis=1)
        files = [record.where.rpartition(":")[0] for record in records]
        return sts.pairs(vectors, given, texts[1], files, 1.0 if positive else positive_from)

    return Evaluation(evaluate, "average_precision" if positive else "spearman")


def grade(record: Record, score: str, positive: str) -> float:
    """A pair's score; 1 or 0 where there are labels.

    Raises:
      DataError: it is no finite number.
    """
    if positive:
        return float(str(column(record, score)) == positive)
    return number(record, score, "; see leave_out_unscored")

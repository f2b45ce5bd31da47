"""From the logits of windows to answers: the best passages of a text, or that it holds none.

The rules are those of transformers' examples/pytorch/question-answering/utils_qa.py, `postprocess_qa_predictions`,
after BERT's run_squad.py (Devlin et al. 2018, sections 4.2 and 4.3), but for two cases: a passage without
characters is never the answer, and where there is no other the answer is "" (there it is the word "empty").
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.metrics import check_finite, check_lengths
from configuration.variants import require
from data_pipeline.errors import DataError


class Candidate(NamedTuple):
    """A possible answer; that of no answer is "" from 0 to 0."""

    text: str
    start: int  # in characters of the context
    end: int
    score: float  # start logit + end logit
    probability: float  # among the candidates


class Answer(NamedTuple):
    """The answer to a question."""

    text: str  # "" where there is none
    candidates: tuple[Candidate, ...]  # the best first
    null_difference: float  # the score of no answer minus the best answer's; infinite where there is no candidate


def best_answers(
    contexts: Sequence[str],
    questions: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    offsets: np.ndarray,
    *,
    max_context: np.ndarray | None = None,
    n_best: int = 20,
    max_length: int = 30,
    null_threshold: float | None = None,
) -> list[Answer]:
    """The answer to each question, from all windows of its context.

    A candidate starts at one of the `n_best` tokens with the greatest start logits of its window and ends at one of as
    many by end logits, not before its start and within `max_length` tokens; both are in the context. The candidates of
    all windows are ranked by the sum of the two logits, and `n_best` of them are kept. The score of no answer is the
    sum of the logits of a window's first token, [CLS], and the lowest of the question's windows.

    Args:
      contexts: the text that each question is about, [Q].
      questions: the question of each window, from 0, int [W], in any order.
      starts, ends: logits, float [W, L].
      offsets: the characters of its context where each token stands, [start, end), int [W, L, 2]; negative for tokens
        that are not of the context.
      max_context: of windows that overlap, whether a token has the most context in this one, bool [W, L]: an answer
        starts at no other; by default at any.
      max_length: of an answer in tokens.
      null_threshold: there is no answer where `null_difference` is above it; None: every question has one.

    Raises:
      ConfigError: n_best or max_length below 1.
      DataError: arrays that do not fit each other, a question without a window, or a logit that is no number.
    """
    require(n_best > 0, "n_best", n_best, "at least 1")
    require(max_length > 0, "max_length", max_length, "at least 1")
    check_lengths(questions=questions, starts=starts, ends=ends, offsets=offsets)
    if starts.shape != ends.shape or offsets.shape != (*starts.shape, 2):
        raise DataError(f"starts {starts.shape}, ends {ends.shape} and offsets {offsets.shape} are not [W, L(, 2)]")
    starts, ends = (np.asarray(logits, np.result_type(logits, np.float32)) for logits in (starts, ends))
    for name, logits in (("starts", starts), ("ends", ends)):
        check_finite(name, np.where(np.isneginf(logits), 0, logits))  # tokens can be masked
    may_start = offsets[..., 0] >= 0 if max_context is None else (offsets[..., 0] >= 0) & max_context
    answers = []
    for number, (context, windows) in enumerate(zip(contexts, _windows(questions, len(contexts)), strict=True)):
        if not len(windows):
            raise DataError(f"question {number} has no window; give one or more for each")
        spans = np.concatenate(
            [_spans(starts[w], ends[w], offsets[w], may_start[w], n_best, max_length) for w in windows]
        )
        null = float(np.min(starts[windows, 0] + ends[windows, 0]))
        answers.append(_answer(context, spans, null, n_best, null_threshold))
    return answers


def _windows(questions: np.ndarray, count: int) -> list[np.ndarray]:
    """The windows of each question.

    Raises:
      DataError: one belongs to no question.
    """
    if questions.min() < 0 or questions.max() >= count:
        raise DataError(f"windows are of questions {questions.min()} to {questions.max()}; there are {count} contexts")
    order = np.argsort(questions, kind="stable")
    return np.split(order, np.searchsorted(questions[order], np.arange(1, count)))


def _spans(
    starts: np.ndarray, ends: np.ndarray, offsets: np.ndarray, may_start: np.ndarray, n_best: int, max_length: int
) -> np.ndarray:
    """A window's candidates, float64 [n, 3]: the first character, the one after the last, the score."""
    first, last = (np.argsort(logits, kind="stable")[::-1][:n_best] for logits in (starts, ends))
    first, last = first[may_start[first]], last[offsets[last, 0] >= 0]
    tokens = last[None] - first[:, None]
    i, j = np.nonzero((tokens >= 0) & (tokens < max_length))
    first, last = first[i], last[j]
    return np.stack([offsets[first, 0], offsets[last, 1], starts[first] + ends[last]], -1).astype(np.float64)


def _answer(context: str, spans: np.ndarray, null: float, n_best: int, null_threshold: float | None) -> Answer:
    if null_threshold is not None:
        spans = np.concatenate([spans, [[0, 0, null]]])
    order = np.argsort(-spans[:, 2], kind="stable")
    kept = order[:n_best]
    if null_threshold is not None and not (spans[kept, :2] == 0).all(-1).any():
        kept = np.append(kept, len(spans) - 1)
    scores = spans[kept, 2]
    shares = np.exp(scores - scores.max(initial=-np.inf)) if np.isfinite(scores).any() else np.ones(len(kept))
    candidates = tuple(
        Candidate(context[int(start) : int(end)], int(start), int(end), float(score), float(share))
        for (start, end, score), share in zip(spans[kept], shares / max(1e-30, shares.sum()), strict=True)
    )
    best = next((candidate for candidate in candidates if candidate.text), None)
    difference = null - best.score if best else np.inf
    if best is None or (null_threshold is not None and difference > null_threshold):
        return Answer("", candidates, float(difference))
    return Answer(best.text, candidates, float(difference))

"""Answers to questions: exact match and F1 as SQuAD's and CMRC's own scripts count them.

"squad": evaluate-v2.0.py, which on SQuAD 1.1 gives what evaluate-v1.1.py does. Answers are compared without case,
punctuation and articles; F1 is over the words that they share.

"cmrc": cmrc2018_evaluate.py, for Chinese. Answers are compared without case and the script's list of punctuation;
F1 is over their longest common run of characters, where a word of Latin letters or a number is one. The script
tokenizes such words by NLTK; here they are runs of letters and digits, and every other character stands alone.
"""

import collections
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from bert_jax.metrics import check_lengths
from data_pipeline.errors import DataError

Rules = Literal["squad", "cmrc"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The script lists "……" too, which no single character is equal to: an ellipsis stays.
_CHINESE_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
_LATIN = re.compile(r"\w+(?:\.\w+|,\d+)*|[^\w\s]")


def compute(
    predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], rules: Rules = "squad"
) -> dict[str, float]:
    """Mean scores over all questions.

    Args:
      predictions: an answer by the question's id, "" for none; questions without one score 0, others are an error.
      answers: the right answers by the question's id; an empty list where the question has none.
      rules: "squad" or "cmrc".

    Returns:
      exact_match and f1 and, where questions with and without answers occur, has_answer_exact_match, has_answer_f1
      and no_answer_accuracy.

    Raises:
      DataError: no question, or a prediction for one that is not there.
    """
    scores = scores_by_question(predictions, answers, rules)
    result = {name: float(values.mean()) for name, values in scores.items()}
    answered = np.array([bool(_kept(right, rules)) for right in answers.values()])
    if answered.any() and not answered.all():
        result |= {f"has_answer_{name}": float(values[answered].mean()) for name, values in scores.items()}
        result["no_answer_accuracy"] = float(scores["exact_match"][~answered].mean())
    return result


def scores_by_question(
    predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]], rules: Rules = "squad"
) -> dict[str, np.ndarray]:
    """The scores of each question, of its nearest right answer: exact_match and f1, float64 [n], in `answers`' order.

    Args and Raises: as of `compute`.
    """
    check_lengths(answers=answers)
    unknown = next((name for name in predictions if name not in answers), None)
    if unknown is not None:
        raise DataError(f"there is a prediction for question {unknown!r}, which is not among the questions")
    measure = _RULES[rules]
    exact, f1 = np.zeros(len(answers)), np.zeros(len(answers))
    for i, (name, right) in enumerate(answers.items()):
        if name in predictions:
            each = _kept(right, rules) or [""]
            exact[i] = max(measure.exact(predictions[name], answer) for answer in each)
            f1[i] = max(measure.f1(predictions[name], answer) for answer in each)
    return {"exact_match": exact, "f1": f1}


def _kept(answers: Sequence[str], rules: Rules) -> list[str]:
    """The right answers that have something left once normalised."""
    return [answer for answer in answers if _RULES[rules].normalize(answer)]


def normalize_squad(text: str) -> str:
    """Lower case, without punctuation and articles, words between single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def normalize_cmrc(text: str) -> str:
    """Lower case, without the punctuation of CMRC's list."""
    return "".join(character for character in text.lower().strip() if character not in _CHINESE_PUNCTUATION)


def segments_cmrc(text: str) -> list[str]:
    """Chinese characters, and words and numbers of other scripts, without the punctuation of CMRC's list."""
    segments: list[str] = []
    other = ""
    for character in normalize_cmrc(text):
        if _HAN.match(character):
            segments += [*_LATIN.findall(other), character]
            other = ""
        else:
            other += character
    return segments + _LATIN.findall(other)


def _squad_f1(predicted: str, answer: str) -> float:
    words, right = normalize_squad(predicted).split(), normalize_squad(answer).split()
    if not words or not right:
        return float(words == right)
    return _f1((collections.Counter(words) & collections.Counter(right)).total(), len(words), len(right))


def _cmrc_f1(predicted: str, answer: str) -> float:
    segments, right = segments_cmrc(predicted), segments_cmrc(answer)
    if not segments or not right:
        return float(normalize_cmrc(predicted) == normalize_cmrc(answer))
    return _f1(_longest_common_run(segments, right), len(segments), len(right))


def _f1(common: int, predicted: int, right: int) -> float:
    return 2 * common / (predicted + right)


def _longest_common_run(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest run of segments that both have."""
    longest, row = 0, [0] * (len(second) + 1)
    for segment in first:
        row = [0, *(before + 1 if segment == other else 0 for before, other in zip(row, second, strict=False))]
        longest = max(longest, *row)
    return longest


class _Measure(NamedTuple):
    """How two answers are compared."""

    normalize: Callable[[str], str]
    f1: Callable[[str, str], float]

    def exact(self, predicted: str, answer: str) -> float:
        return float(self.normalize(predicted) == self.normalize(answer))


_RULES: dict[str, _Measure] = {
    "squad": _Measure(normalize_squad, _squad_f1),
    "cmrc": _Measure(normalize_cmrc, _cmrc_f1),
}

"""Answers against a second form of the rules of the official scripts, written down from memory, without NLTK."""

import collections
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.metrics import question_answering
from data_pipeline.errors import DataError


def normalize_answer(s):
    def remove_articles(text):
        regex = re.compile(r"\b(a|an|the)\b", re.UNICODE)
        return re.sub(regex, " ", text)

    def white_space_fix(text):
        return " ".join(text.split())

    def remove_punc(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def squad_f1(a_gold, a_pred):
    gold_toks = normalize_answer(a_gold).split()
    pred_toks = normalize_answer(a_pred).split()
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def squad(prediction, answers):
    gold = [answer for answer in answers if normalize_answer(answer)] or [""]
    exact = max(int(normalize_answer(a) == normalize_answer(prediction)) for a in gold)
    return exact, max(squad_f1(a, prediction) for a in gold)


MARKS = [*"-:_*^/\\~`+=，。：？！“”；’《》", "……", *"·、「」（）－～『』"]


def mixed_segmentation(in_str, words):
    in_str = in_str.lower().strip()
    segs_out = []
    temp_str = ""
    for char in in_str:
        if char in MARKS:
            continue
        if re.search(r"[\u4e00-\u9fa5]", char):
            if temp_str != "":
                segs_out.extend(words(temp_str))
                temp_str = ""
            segs_out.append(char)
        else:
            temp_str += char
    if temp_str != "":
        segs_out.extend(words(temp_str))
    return segs_out


def find_lcs(s1, s2):
    m = [[0 for i in range(len(s2) + 1)] for j in range(len(s1) + 1)]
    mmax = 0
    for i in range(len(s1)):
        for j in range(len(s2)):
            if s1[i] == s2[j]:
                m[i + 1][j + 1] = m[i][j] + 1
                mmax = max(mmax, m[i + 1][j + 1])
    return mmax


def cmrc(prediction, answers):
    words = str.split  # what stands between spaces, as no case below has more signs in it
    bare = lambda text: "".join(c for c in text.lower().strip() if c not in MARKS)
    f1_scores = []
    for ans in answers:
        ans_segs, prediction_segs = mixed_segmentation(ans, words), mixed_segmentation(prediction, words)
        lcs_len = find_lcs(ans_segs, prediction_segs)
        if lcs_len == 0:
            f1_scores.append(0)
            continue
        precision, recall = 1.0 * lcs_len / len(prediction_segs), 1.0 * lcs_len / len(ans_segs)
        f1_scores.append((2 * precision * recall) / (precision + recall))
    return int(any(bare(ans) == bare(prediction) for ans in answers)), max(f1_scores)


ENGLISH = st.lists(
    st.sampled_from(["the", "A", "an", "day", "Day.", "U.S.", "-", "3,5", "é", "'s", " "]), max_size=6
).map(" ".join)
CHINESE = st.lists(st.sampled_from([*"中文日国，。《》-龥", "NBA", " ", "2018", " … ", "a b"]), max_size=8).map("".join)


@given(ENGLISH, st.lists(ENGLISH, max_size=4))
def test_squad(prediction, answers):
    found = question_answering.scores_by_question({"q": prediction}, {"q": answers})
    assert (found["exact_match"][0], found["f1"][0]) == pytest.approx(squad(prediction, answers))


@given(CHINESE, st.lists(CHINESE.filter(question_answering.normalize_cmrc), min_size=1, max_size=4))
def test_cmrc(prediction, answers):
    found = question_answering.scores_by_question({"q": prediction}, {"q": answers}, "cmrc")
    assert (found["exact_match"][0], found["f1"][0]) == pytest.approx(cmrc(prediction, answers))


def test_segments_of_chinese():
    segments = question_answering.segments_cmrc("《NBA》在2018年，3.14 and 1,000: it's x.")
    assert segments == ["nba", "在", "2018", "年", "3.14", "and", "1,000", "it", "'", "s", "x", "."]


def test_means_over_questions():
    answers = {"a": ["day", "a long day"], "b": [], "c": ["night"], "d": ["..."]}
    predictions = {"a": "The long day", "b": "", "d": "x"}
    scores = question_answering.scores_by_question(predictions, answers)
    assert scores["exact_match"].tolist() == [1, 1, 0, 0]  # "c" has no prediction; "d" no answer once normalised
    assert scores["f1"].tolist() == [1, 1, 0, 0]
    assert question_answering.compute(predictions, answers) == {
        "exact_match": 0.5,
        "f1": 0.5,
        "has_answer_exact_match": 0.5,
        "has_answer_f1": 0.5,
        "no_answer_accuracy": 0.5,
    }
    assert question_answering.compute({"a": "day"}, {"a": ["a day long"]}) == pytest.approx(
        {"exact_match": 0, "f1": 2 / 3}
    )
    assert question_answering.compute({"a": "x"}, {"a": []}) == {"exact_match": 0, "f1": 0}


def test_what_cannot_be():
    with pytest.raises(DataError, match="prediction for question 'x', which is not among the questions"):
        question_answering.compute({"x": "day"}, {"a": ["day"]})
    with pytest.raises(DataError, match="there is no example to score"):
        question_answering.compute({}, {})


def test_long_answers_take_no_time():
    text = "".join(np.random.default_rng(0).choice(list("中文日国"), 1000))
    assert question_answering.compute({"q": text}, {"q": [text[::-1]]}, "cmrc")["f1"] < 0.1

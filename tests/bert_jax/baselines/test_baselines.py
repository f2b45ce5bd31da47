"""Each baseline, scored by its task: against counts by hand, and against scikit-learn used directly."""

import numpy as np
import pytest
from scipy import stats

from bert_jax import baselines
from bert_jax.metrics import regression
from bert_jax.tasks import load_task, with_labels
from configuration.variants import load, use
from data_pipeline.labelled import Record

RNG = np.random.default_rng(0)
WORDS = np.array(["good", "fine", "bad", "poor", "the", "a", "film", "play"])


def records(rows):
    return [Record(row, f"row {i}") for i, row in enumerate(rows)]


def answers(name, task, train, others, **options):
    """The scores and the answers of a baseline on a task."""
    found = load_task(task)
    task = with_labels(task, found.find_labels(train))
    found = load_task(task)
    baseline = load(baselines.PACKAGE, use(name, **options))()
    assert task.name in baseline.tasks
    reader = baselines.reader(task.name, task.options, found.text)
    outputs, encoded = baseline.predict(reader, train, others)
    said = found.answers(outputs, encoded, others)
    return found.scores(outputs, encoded, others), said, found.each(said, others)


def test_majority() -> None:
    train = records([{"text": "x", "label": label} for label in "aabab"])
    scores, said, each = answers("majority", use("classification"), train, train[:4])
    assert scores["accuracy"] == 0.75
    assert said[0] == {"label": "a", "probabilities": {"a": 0.6, "b": 0.4}}
    assert each.tolist() == [1, 1, 0, 1]


def test_mean() -> None:
    train = records([{"text": "x", "score": score} for score in ("1", "2", "6")])
    task = use("regression", label="score", metric="negative_error")
    scores, said, each = answers("mean", task, train, train)
    assert (scores["pearson"], scores["negative_error"]) == (0, -2)
    assert [answer["value"] for answer in said] == [3, 3, 3]
    assert each.tolist() == [-2, -1, -3]


def test_frequent_tag() -> None:
    train = records(
        [
            {"words": ["Eve", "saw", "Eve"], "tags": ["B-PER", "O", "B-PER"]},
            {"words": ["Eve", "is", "near"], "tags": ["O", "O", "O"]},
        ]
    )
    others = records([{"words": ["Eve", "fell"], "tags": ["B-PER", "O"]}, {"words": ["Ann"], "tags": ["B-PER"]}])
    scores, said, each = answers("frequent_tag", use("tagging"), train, others)
    assert [answer["tags"] for answer in said] == [["B-PER", "O"], ["O"]]
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert (scores["precision"], scores["recall"]) == (1, 0.5)
    assert each.tolist() == [1, 0]


def reviews(number):
    labels = RNG.integers(0, 2, number)
    texts = [
        " ".join(RNG.permutation([*RNG.choice(WORDS[4:], 3), RNG.choice(WORDS[2 - 2 * k : 4 - 2 * k])])) for k in labels
    ]
    return texts, labels


def test_tfidf_as_scikit_learn_does_it() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    (texts, labels), (others, wanted) = reviews(60), reviews(20)
    as_records = lambda texts, labels: records(
        [{"text": t, "label": str(k)} for t, k in zip(texts, labels, strict=True)]
    )
    pipeline = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=0.5)).fit(texts, labels)
    train, test = as_records(texts, labels), as_records(others, wanted)
    scores, said, _ = answers("tfidf", use("classification"), train, test, longest=1, penalty=2.0)
    assert scores["accuracy"] == 1
    ours = [[answer["probabilities"][name] for name in "01"] for answer in said]
    np.testing.assert_allclose(ours, pipeline.predict_proba(others), atol=1e-6)


def test_tfidf_of_pairs_tells_whether_they_are_alike() -> None:
    rows = []
    for i in range(200):
        first = RNG.choice(WORDS, 3, replace=False)
        second = first if i % 2 else np.setdiff1d(WORDS, first)[:3]
        rows.append({"a": " ".join(first), "b": " ".join(second), "label": ("other", "same")[i % 2]})
    task = use("classification", text="a", second="b")
    scores, *_ = answers("tfidf", task, records(rows[:150]), records(rows[150:]))
    assert scores["accuracy"] == 1


def test_tfidf_of_numbers_is_ridge_regression_on_both_texts_and_their_cosine() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import Ridge

    pairs = [(RNG.choice(WORDS, 4), RNG.choice(WORDS, 4)) for _ in range(120)]
    rows = [{"a": " ".join(a), "b": " ".join(b), "score": str(len({*a} & {*b}))} for a, b in pairs]
    train, test = records(rows[:90]), records(rows[90:])
    task = use("regression", text="a", second="b", label="score")
    scores, said, _ = answers("tfidf", task, train, test, longest=1, ridge=0.5)
    assert scores["pearson"] > 0.8
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit([row[name] for name in "ab" for row in rows[:90]])
    dense = lambda rows: [vectorizer.transform([row[name] for row in rows]).toarray() for name in "ab"]
    wide = lambda a, b: np.concatenate([a, b, a * b, abs(a - b), (a * b).sum(1, keepdims=True)], 1)
    model = Ridge(alpha=0.5).fit(wide(*dense(rows[:90])), [float(row["score"]) for row in rows[:90]])
    np.testing.assert_allclose([each["value"] for each in said], model.predict(wide(*dense(rows[90:]))), atol=1e-6)


def test_tfidf_of_chinese_counts_characters() -> None:
    rows = [{"text": text, "label": label} for text, label in (("这个很好啊", "1"), ("那个不好啊", "0")) * 5]
    scores, *_ = answers("tfidf", use("classification"), records(rows), records([{"text": "酒店很好", "label": "1"}]))
    assert scores["accuracy"] == 1


def test_nearest_choice_takes_what_shares_rare_words_with_text_and_question() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    task = use("multiple_choice", text="passage", question="asked", choices=("first", "second", "third"), label="right")
    rows = [
        {
            "passage": "the film is good",
            "asked": "what is said of the film",
            "first": "poor",
            "second": "play",
            "third": "good",
            "right": 2,
        },
        {
            "passage": "a play is bad",
            "asked": "what is said of the play",
            "first": "bad play",
            "second": "a film",
            "third": "fine",
            "right": 0,
        },
        {"passage": "nothing", "asked": "here", "first": "fine", "second": "poor", "third": "good", "right": 1},
    ]
    scores, said, each = answers("nearest_choice", task, records(rows), records(rows))
    assert [answer["choice"] for answer in said] == [2, 0, 0]
    assert (scores["accuracy"], each.tolist()) == (pytest.approx(2 / 3), [1, 1, 0])
    np.testing.assert_allclose(said[2]["probabilities"], [1 / 3] * 3, atol=1e-6)

    given = [f"{row['passage']} {row['asked']}" for row in rows]
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(
        [
            text
            for text, row in zip(given, rows, strict=True)
            for text in (text, row["first"], row["second"], row["third"])
        ]
    )
    cosines = (vectorizer.transform(["poor", "play", "good"]) @ vectorizer.transform(given[:1]).T).toarray()[:, 0]
    np.testing.assert_allclose(said[0]["probabilities"], cosines / cosines.sum(), atol=1e-5)


def test_nearest_choice_of_lists_of_any_length() -> None:
    rows = [
        {"text": "这个很好啊", "choices": ["不", "很好"], "label": 1},
        {"text": "那个不好啊", "choices": ["不好", "很", "啊这"], "label": 0},
    ]
    scores, said, _ = answers("nearest_choice", use("multiple_choice"), records(rows), records(rows))
    assert scores["accuracy"] == 1
    assert [len(answer["probabilities"]) for answer in said] == [2, 3]


def test_latent_semantic() -> None:
    """In all dimensions its cosines are those of TF-IDF; one text may have no known word."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [" ".join(RNG.choice(WORDS, size=RNG.integers(1, 6))) for _ in range(60)]
    train = records([{"text": text} for text in texts[:40]])
    halves = enumerate(zip(texts[::2], texts[1::2], strict=True))
    pairs = [{"first": a, "second": b, "score": i % 5} for i, (a, b) in halves]
    others = records([*pairs, {"first": "unknown", "second": "film", "score": 1}])
    task = use("sentence_vectors", texts=["text", "text"], loss="multiple_negatives")
    scores, said, terms = answers("latent_semantic", task, train, others, dimensions=99)
    known = TfidfVectorizer(sublinear_tf=True).fit(texts[:40])
    u, v = (known.transform([each.values[name] for each in others]).toarray() for name in ("first", "second"))
    wanted = (u * v).sum(-1)
    assert [answer["cosine"] for answer in said] == pytest.approx(wanted.tolist(), abs=1e-6)
    found = stats.spearmanr([answer["cosine"] for answer in said], [each.values["score"] for each in others])
    assert scores["spearman"] == pytest.approx(found.statistic, abs=1e-9)
    assert regression.correlation(terms.mean(0)) == pytest.approx(scores["spearman"], abs=1e-9)
    few, _, _ = answers("latent_semantic", task, train, others, dimensions=2)
    assert few["spearman"] != scores["spearman"]

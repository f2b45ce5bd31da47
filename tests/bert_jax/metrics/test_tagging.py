"""Scores of entities, against conlleval's rules and, for strict ones, a reading of IOB2 in plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.metrics import tagging
from data_pipeline.errors import DataError

TAG = st.sampled_from(["O", "O", "B-A", "I-A", "B-B", "I-B"])
SENTENCES = st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=9), min_size=1, max_size=5)


def conlleval(tags):
    """Chunks of a sentence: (type, first, last), by startOfChunk and endOfChunk of conlleval.pl."""
    chunks, start = set(), None
    for i, (before, tag) in enumerate(zip(["O", *tags], [*tags, "O"], strict=True)):
        (p, _, was), (t, _, now) = before.partition("-"), tag.partition("-")
        if start is not None and (t in "BO" or was != now):
            chunks.add((was, start, i - 1))
            start = None
        if t == "B" or (t == "I" and (p == "O" or was != now)):
            start = i
    return chunks


def well_formed(tags):
    """Entities of IOB2: B-X and the I-X that follow; an I- that continues nothing is none."""
    found, i = set(), 0
    while i < len(tags):
        if tags[i].startswith("B-"):
            last = i
            while last + 1 < len(tags) and tags[last + 1] == f"I-{tags[i][2:]}":
                last += 1
            found.add((tags[i][2:], i, last))
            i = last
        i += 1
    return found


def scores(read, tags, predicted):
    right = {(i, *entity) for i, sentence in enumerate(tags) for entity in read(sentence)}
    guess = {(i, *entity) for i, sentence in enumerate(predicted) for entity in read(sentence)}
    share = lambda of: len(right & guess) / len(of) if of else 0.0
    return share(guess), share(right), 2 * len(right & guess) / max(1, len(right) + len(guess))


@settings(max_examples=300, deadline=None)
@given(SENTENCES)
def test_as_conlleval_and_as_iob2(pairs):
    tags = [[tag for tag, _ in sentence] for sentence in pairs]
    predicted = [[tag for _, tag in sentence] for sentence in pairs]
    found = tagging.compute(tags, predicted)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(scores(conlleval, tags, predicted))
    strict = (found["strict_precision"], found["strict_recall"], found["strict_f1"])
    assert strict == pytest.approx(scores(well_formed, tags, predicted))
    spans = lambda sentence: {entity[1:] for entity in conlleval(sentence)}
    assert found["span_f1"] == pytest.approx(scores(spans, tags, predicted)[2])
    right = [a == b for sentence in pairs for a, b in sentence]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert all(type(value) is float for value in found.values())


def test_edge_cases():
    none = tagging.compute([["O", "O"]], [["O", "O"]])
    assert none == dict.fromkeys(none, 0.0) | {"accuracy": 1.0}
    missed = tagging.compute([["B-A", "I-A"]], [["O", "O"]])
    assert (missed["f1"], missed["accuracy"]) == (0, 0)
    types = tagging.compute([["B-A", "I-A", "O"]], [["B-B", "I-B", "O"]])
    assert (types["f1"], types["span_f1"]) == (0, 1)
    loose = tagging.compute([["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]])
    assert (loose["f1"], loose["strict_f1"]) == (1, 0)
    assert tagging.compute([["S-A", "B-B", "E-B"]], [["S-A", "B-B", "I-B"]], scheme="IOBES")[
        "strict_f1"
    ] == pytest.approx(2 / 3)
    assert tagging.compute([[], ["B-A"]], [[], ["B-A"]])["f1"] == 1
    assert tagging.compute([["B-PER.NAM"]], [["B-PER.NOM"]])["f1"] == 0


def test_tags_that_mark_no_entities_have_an_accuracy_alone():
    """Parts of speech, which no scheme of entities can read."""
    assert tagging.compute([["NN", "$", "O"]], [["NN", "IN", "O"]]) == {"accuracy": pytest.approx(2 / 3)}
    assert tagging.compute([["B-A"]], [["NN"]]) == {"accuracy": 0.0}


def test_what_cannot_be():
    with pytest.raises(DataError, match="there is no example to score: tags is empty"):
        tagging.compute([], [])
    with pytest.raises(DataError, match="there are 1 tags, 2 predicted"):
        tagging.compute([["O"]], [["O"], ["O"]])
    with pytest.raises(DataError, match="sentence 1 has 1 tags and 2 predicted ones"):
        tagging.compute([["O"], ["O"]], [["O"], ["O", "O"]])

"""Questions with answers: both nestings, offsets in characters, answers that are misplaced."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data_pipeline import hostile

from data_pipeline.errors import DataError
from data_pipeline.labelled import squad


def question(identity, *answers, **more):
    texts = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": identity, "question": f"What is {identity}?", "answers": texts, **more}


def write(path, context, *questions):
    content = {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(questions)}]}],
    }
    path.write_text(json.dumps(content))
    return str(path)


def read(path, **options):
    return squad.build(train=str(path), **options).read("train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("questions")


@given(context=hostile.texts.filter(str.strip), data=st.data(), ascii_only=st.booleans())
def test_passages_come_back(folder, context, data, ascii_only):
    qas, expected = [], []
    for i in range(data.draw(st.integers(1, 3))):
        ends = [sorted(data.draw(st.tuples(*[st.integers(0, len(context))] * 2))) for _ in range(2)]
        spans = [(context[start:end], start) for start, end in ends if context[start:end].strip()]
        qas.append(question(f"q{i}", *spans))
        expected.append([{"text": text, "start": start} for text, start in spans])
    content = {"data": [{"paragraphs": [{"context": context, "qas": qas}]}]}
    (folder / "a.json").write_bytes(json.dumps(content, ensure_ascii=ascii_only).encode())
    records = read(folder / "a.json")
    assert [record.values["answers"] for record in records] == expected
    assert all(record.values["context"] == context for record in records)


def test_squad_2(tmp_path):
    known, impossible = question("a", ("day", 5), is_impossible=False), question("b", is_impossible=True)
    unlabelled = {"id": 7, "question": "Which?"}
    path = write(tmp_path / "a.json", "It's day.", known, impossible | {"plausible_answers": [{}]}, unlabelled)
    values = [record.values for record in read(path)]
    assert values[0] == {
        "id": "a",
        "question": "What is a?",
        "context": "It's day.",
        "answers": [{"text": "day", "start": 5}],
        "impossible": False,
    }
    assert [(v["answers"], v["impossible"]) for v in values[1:]] == [([], True), ([], False)]
    assert [v["id"] for v in values] == ["a", "b", "7"]


def test_the_first_nesting_of_cmrc(tmp_path):
    questions = [{"query_id": "T_0_Q_0", "query_text": "几岁？", "answers": ["三岁", "岁"]}]
    content = [{"context_id": "T_0", "context_text": "他三岁。", "title": "他", "qas": questions}]
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    (record,) = read(tmp_path / "a.json")
    assert record.where == f"{tmp_path}/a.json question T_0_Q_0"
    assert record.values == {
        "id": "T_0_Q_0",
        "question": "几岁？",
        "context": "他三岁。",
        "answers": [{"text": "三岁", "start": 1}, {"text": "岁", "start": 2}],
        "impossible": False,
    }


def test_misplaced_answers(tmp_path, capsys):
    context = "a bird and a bird and a cat"
    path = write(tmp_path / "a.json", context, question("q", ("bird", 12), ("bird", 3), ("cat", -1)))
    (record,) = read(path)
    assert [answer["start"] for answer in record.values["answers"]] == [13, 2, 24]
    assert capsys.readouterr().err == f"{path}: 3 answers were not where stated, and were found elsewhere\n"
    with pytest.raises(DataError, match=r"a\.json question q: the answer 'bird' is not in its context at 12 but at 13"):
        read(path, misplaced="error")

    path = write(tmp_path / "b.json", context, question("q", ("bird", 2), ("dog", 3)))
    with pytest.raises(DataError, match=r"b\.json question q: the answer 'dog' is not in its .* at 3, nor elsewhere"):
        read(path)
    (record,) = read(path, misplaced="keep")
    assert record.values["answers"] == [{"text": "bird", "start": 2}, {"text": "dog", "start": -1}]
    assert capsys.readouterr().err == f"{path}: 1 answers are not in their contexts; they have no start\n"


@given(context=st.text("ab", max_size=30), text=st.text("ab", min_size=1, max_size=3), start=st.integers(-3, 33))
def test_the_nearest_place(context, text, start):
    places = [i for i in range(len(context)) if context.startswith(text, i)]
    found = squad._nearest(context, text, start)
    assert (found in places) if places else found == -1
    assert not places or abs(found - start) == min(abs(i - start) for i in places)


def test_halves_of_surrogate_pairs_do_not_move_answers(tmp_path):
    path = write(tmp_path / "a.json", "\ud800x\udc00 day", question("q", ("day", 4)))
    (record,) = read(path)
    assert record.values["context"] == "\ufffdx\ufffd day"
    assert record.values["answers"] == [{"text": "day", "start": 4}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"a\.json is not JSON"),
        ("[" * 200_000, r"a\.json is nested too deep"),
        ('"text"', r"a\.json has no field 'data' \(no object\); is the file of SQuAD's structure\?"),
        ('{"data": {}}', r"a\.json: field 'data' is \{\}"),
        ('{"data": [{"pragraphs": []}]}', r"a\.json data\[0\] has no field 'paragraphs' \(pragraphs\)"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', r"data\[0\]\.paragraphs\[0\] has no field 'context' \(qas\)"),
        ('{"data": [{"paragraphs": [{"context": "", "qas": [1]}]}]}', r"paragraphs\[0\]\.qas\[0\] is no object"),
        ('[{"context_text": "a", "qas": [{"query_id": "1", "answers": []}]}]', "question 1 has no field 'query_text'"),
    ],
)
def test_other_structures(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([question("q"), question("q")], r"a\.json question q: another question has this id"),
        ([question("q", (" ", 1))], "question q: an answer is empty"),
        ([question("q", ("text", "0"))], "question q: field 'answer_start' is '0'"),
        ([question("q", ("text", True))], "question q: field 'answer_start' is True"),
        ([question("q", ("text", 0), is_impossible=True)], "question q is stated to be impossible and has answers"),
        ([question("q", is_impossible="no")], "question q: field 'is_impossible' is 'no'"),
        ([question("q") | {"answers": {"text": []}}], "question q: 'answers' is no list"),
        ([question(["q"])], r"a\.json: field 'id' is \['q'\]"),
    ],
)
def test_bad_questions(tmp_path, questions, message):
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / "a.json", "text here", *questions))

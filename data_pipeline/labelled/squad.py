"""Questions whose answers are passages of a text: JSON of SQuAD 1.1 and 2.0, and of CMRC 2018.

Rajpurkar et al. 2016 and 2018; Cui et al. 2019. Two nestings are read: SQuAD's, data > paragraphs > qas,
which the published CMRC 2018 has too, and that of CMRC's first release, a list of contexts whose answers are
texts without their starts.
"""

import functools
import json
import sys
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record, _files
from data_pipeline.labelled._files import File

TEXT = "context"  # questions about one text go to the same side

Misplaced = Literal["error", "find", "keep"]


class Names(NamedTuple):
    """How a nesting names its fields."""

    context: str
    question: str
    id: str


_SQUAD = Names("context", "question", "id")
_FIRST_CMRC = Names("context_text", "query_text", "query_id")


def build(
    *,
    train: str | tuple[str, ...] = "",
    dev: str | tuple[str, ...] = "",
    test: str | tuple[str, ...] = "",
    misplaced: Misplaced = "find",
    encoding: str = "utf-8",
) -> Labelled:
    """Records with the columns `id`, `question`, `context`, `answers` and `impossible`.

    `answers` is a list of {"text", "start"}, the start in characters of the context; it is empty where the question
    has no answer in its context, and then `impossible` is true, or where the file states none.

    Args:
      train, dev, test: files, folders and patterns, local or remote, also inside an archive.
      misplaced: what to do with an answer that is not in its context where the file says. "find": take the nearest
        occurrence of its text, and fail if there is none; "keep": likewise, but then give it the start -1, as for 193
        answers of CMRC 2018's dev set; "error": always fail. How many are moved or kept is printed.
      encoding: of the files.

    Raises:
      DataError: nothing to read; while reading: another structure, an id twice, or a misplaced answer.
    """
    records = functools.partial(_records, misplaced, encoding)
    return _files.labelled("squad", {"train": train, "dev": dev, "test": test}, (".json",), records)


def _records(misplaced: Misplaced, encoding: str, files: Iterator[File]) -> Iterator[Record]:
    seen: set[str] = set()
    for file in files:
        placing = Placing(misplaced)
        for context, question, names in _questions(file, encoding):
            record = _record(file.name, context, question, names, placing)
            if record.values["id"] in seen:
                raise DataError(f"{record.where}: another question has this id; give each its own")
            seen.add(record.values["id"])
            yield record
        placing.report(file.name)


def _questions(file: File, encoding: str) -> Iterator[tuple[str, dict, Names]]:
    """Each question of a file with its context."""
    try:
        content = json.loads(_files.decode(file, encoding))
    except RecursionError:
        raise DataError(f"{file.name} is nested too deep; is it of SQuAD's structure?") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file.name} is not JSON: {error}") from None
    content = _files.without_surrogates(content)
    if isinstance(content, list):
        paragraphs, names = [(f"[{i}]", paragraph) for i, paragraph in enumerate(content)], _FIRST_CMRC
    else:
        paragraphs, names = list(_paragraphs(file.name, content)), _SQUAD
    for place, paragraph in paragraphs:
        where = f"{file.name} {place}"
        context = _field(where, paragraph, names.context, str)
        for i, question in enumerate(_field(where, paragraph, "qas", list)):
            if not isinstance(question, dict):
                raise DataError(f"{where}.qas[{i}] is no object")
            yield context, question, names


def _paragraphs(name: str, content: Any) -> Iterator[tuple[str, Any]]:
    for i, article in enumerate(_field(name, content, "data", list)):
        for j, paragraph in enumerate(_field(f"{name} data[{i}]", article, "paragraphs", list)):
            yield f"data[{i}].paragraphs[{j}]", paragraph


def _record(name: str, context: str, question: dict, names: Names, placing: "Placing") -> Record:
    identity = _field(name, question, names.id, (str, int))
    where = f"{name} question {identity}"
    answers = question.get("answers", [])
    if not isinstance(answers, list):
        raise DataError(f"{where}: 'answers' is no list but {answers!r:.40}")
    impossible = _field(where, question, "is_impossible", bool) if "is_impossible" in question else False
    if impossible and answers:
        raise DataError(f"{where} is stated to be impossible and has answers; mend one of the two")
    values = {
        "id": str(identity),
        "question": _field(where, question, names.question, str),
        "context": context,
        "answers": [placing(where, context, *_answer(where, answer)) for answer in answers],
        "impossible": impossible,
    }
    return Record(values, where)


def _answer(where: str, answer: Any) -> tuple[str, int | None]:
    """An answer's text, and its start where the file has one."""
    if isinstance(answer, str):
        return answer, None
    return _field(where, answer, "text", str), _field(where, answer, "answer_start", int)


def _field(where: str, parent: Any, name: str, kind: type | tuple[type, ...]) -> Any:
    """A field of an object.

    Raises:
      DataError: it is missing, or of another kind.
    """
    if not isinstance(parent, dict) or name not in parent:
        has = ", ".join(parent) if isinstance(parent, dict) else "no object"
        raise DataError(f"{where} has no field {name!r} ({has}); is the file of SQuAD's structure?")
    value = parent[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise DataError(f"{where}: field {name!r} is {value!r:.40}; is the file of SQuAD's structure?")
    return value


class Placing:
    """Checks where answers start, and finds those that are misplaced."""

    def __init__(self, misplaced: Misplaced):
        self._misplaced = misplaced
        self._moved = self._kept = 0

    def __call__(self, where: str, context: str, text: str, start: int | None) -> dict[str, Any]:
        """An answer with its start in the context; `start` is None where the file states none.

        Raises:
          DataError: it is empty, or not where it should be.
        """
        if not text.strip():
            raise DataError(f"{where}: an answer is empty; a question without answer has an empty list of answers")
        if start is not None and start >= 0 and context.startswith(text, start):
            return {"text": text, "start": start}
        found = _nearest(context, text, start or 0)
        if start is None and found >= 0:
            return {"text": text, "start": found}
        if self._misplaced == "error" or (self._misplaced == "find" and found < 0):
            place = f"not in its context at {start}" + (f" but at {found}" if found >= 0 else ", nor elsewhere in it")
            remedy = "misplaced='find'" if found >= 0 else "misplaced='keep', which gives it no start"
            raise DataError(f"{where}: the answer {text!r:.60} is {place}; mend it, or set {remedy}")
        self._moved += found >= 0
        self._kept += found < 0
        return {"text": text, "start": found}

    def report(self, name: str) -> None:
        """Prints what was done with misplaced answers."""
        if self._moved:
            print(f"{name}: {self._moved} answers were not where stated, and were found elsewhere", file=sys.stderr)
        if self._kept:
            print(f"{name}: {self._kept} answers are not in their contexts; they have no start", file=sys.stderr)


def _nearest(context: str, text: str, start: int) -> int:
    """The occurrence of a text nearest to an offset; -1 if there is none."""
    before, after = context.rfind(text, 0, max(start, 0) + len(text)), context.find(text, max(start, 0))
    return min((place for place in (before, after) if place >= 0), key=lambda place: abs(place - start), default=-1)

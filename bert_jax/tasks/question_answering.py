"""Answers that are passages of a text (Devlin et al. 2018, sections 4.2 and 4.3): BertForQuestionAnswering.

[CLS] question [SEP] a window of the text [SEP]; two logits a token say where the answer starts and ends. Each is a
choice among the tokens of the example; where the window holds no answer, that is [CLS]. The loss is the mean of both
cross-entropies. Answers are read from all windows of a text by bert_jax/metrics/answers.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.metrics import answers as best
from bert_jax.metrics import question_answering
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode as run_encoder
from bert_jax.modeling.heads import span_head
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.tasks import Outputs, Task, shared_out
from bert_jax.tasks._texts import flat
from data_pipeline.alignment import encode_with_offsets
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.labelled import Record, check_text, column
from data_pipeline.tokenizers import Tokenizer


def parts(model: Model) -> Parts:
    """The head."""
    return heads.parts(model, "span_head")


def build(model: Model, vocabulary: Vocabulary) -> Objective:
    """The objective; it has no options."""
    del vocabulary

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        logits = span_head.logits(model, params, run_encoder(model, params, batch, key))
        numbers = 1 + jnp.arange(batch["places"].shape[1])
        own = batch["segments"][:, None, :] == numbers[None, :, None]  # [B, E, L]
        found = []
        for column_, target in ((0, batch["start"]), (1, batch["end"])):
            among = jnp.where(own, logits[:, None, :, column_], jnp.finfo(jnp.float32).min)
            place = jnp.minimum(batch["places"] + target, logits.shape[1] - 1)
            found.append(cross_entropy(among, place, batch["weights"]))
        (start, start_right), (end, end_right) = found
        return (start + end) / 2, {"accuracy": (start_right + end_right) / 2}

    return Objective(shared_out("weights"), loss, ("places", "start", "end", "weights"))


def task(
    *,
    question: str = "question",
    context: str = "context",
    answers: str = "answers",
    stride: int = 64,
    longest_question: int = 64,
    longest_answer: int = 30,
    n_best: int = 20,
    no_answer: bool = False,
    null_threshold: float = 0.0,
    rules: question_answering.Rules = "squad",
    metric: str = "f1",
) -> Task:
    """The task.

    Args:
      question, context, answers: columns; answers are dicts of "text" and "start", the first of which is learnt.
      stride: tokens of the text that a window has in common with the next.
      longest_question: in tokens; longer ones are truncated.
      longest_answer: in tokens, of what is predicted.
      n_best: starts and ends that are considered.
      no_answer: questions may have none, as in SQuAD 2.0.
      null_threshold: how much higher no answer must score than the best one.
      rules: of the scores: SQuAD's, or CMRC's for Chinese.
    """

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        rows, types, owners, spans, offsets, contexts = [], [], [], [], [], []
        for r, record in enumerate(records):
            asked = tokenizer.encode(check_text(record, question))[:longest_question]
            ids, where = encode_with_offsets(tokenizer, check_text(record, context))
            room = length - 3 - len(asked)
            for first in windows(len(ids), room, stride):
                part, at = ids[first : first + room], where[first : first + room]
                rows.append([tokenizer.cls_id, *asked, tokenizer.sep_id, *part, tokenizer.sep_id])
                types.append([0] * (len(asked) + 2) + [1] * (len(part) + 1))
                owners.append(r)
                before = len(asked) + 2
                spans.append(place(record, answers, at, before) if labelled else (0, 0))
                offsets.append(np.concatenate([np.full((before, 2), -1), at, [[-1, -1]]]))
                shown = most_context(len(ids), first, len(part), room, stride)
                contexts.append(np.concatenate([np.zeros(before, bool), shown, [False]]))
        encoded = flat(rows, types, owners)
        start, end = np.array(spans, np.int32).reshape(-1, 2).T
        aside = {"offsets": np.concatenate(offsets), "most_context": np.concatenate(contexts)}
        return encoded._replace(per_example={"start": start, "end": end}, aside=aside)

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        logits = span_head.logits(model, params, run_encoder(model, params, batch))
        return {"start": logits[..., 0], "end": logits[..., 1]}

    def found(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[best.Answer]:
        lowest = np.finfo(np.float32).min
        texts = [check_text(record, context) for record in records]
        return best.best_answers(
            texts,
            encoded.records,
            windowed(outputs["start"], encoded, lowest),
            windowed(outputs["end"], encoded, lowest),
            windowed(encoded.aside["offsets"], encoded, -1),
            max_context=windowed(encoded.aside["most_context"], encoded, False),
            n_best=n_best,
            max_length=longest_answer,
            null_threshold=null_threshold if no_answer else None,
        )

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        predicted = {str(i): answer.text for i, answer in enumerate(found(outputs, encoded, records))}
        return question_answering.compute(predicted, right(records), rules)

    def right(records: Sequence[Record]) -> dict[str, list[str]]:
        return {str(i): [answer["text"] for answer in column(r, answers)] for i, r in enumerate(records)}

    def said(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        return [
            {
                "answer": answer.text,
                "start": next((c.start for c in answer.candidates if c.text == answer.text), 0),
                "candidates": [{"text": c.text, "probability": round(c.probability, 6)} for c in answer.candidates[:3]],
            }
            for answer in found(outputs, encoded, records)
        ]

    def each(answers_given: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        predicted = {str(i): answer["answer"] for i, answer in enumerate(answers_given)}
        return question_answering.scores_by_question(predicted, right(records), rules)["f1"]

    columns, find = (question, context), lambda records: ()
    return Task(columns, find, encode, outputs, "token", scores, metric, said, each, "F1")


def windows(tokens: int, room: int, stride: int) -> range:
    """The first tokens of a text's windows, `stride` of which each has in common with the next."""
    step = max(1, room - stride)
    return range(0, max(1, tokens - room + step), step)


def most_context(tokens: int, first: int, size: int, room: int, stride: int) -> np.ndarray:
    """bool [size]: the tokens for which this window has the most context (run_squad.py's rule)."""
    places = np.arange(first, first + size)
    score = lambda start, end: np.where(
        (places >= start) & (places < end),
        np.minimum(places - start, end - 1 - places) + 0.01 * (end - start),
        -1.0,
    )
    own = score(first, first + size)
    others = [score(other, min(other + room, tokens)) for other in windows(tokens, room, stride)]
    before = [s for other, s in zip(windows(tokens, room, stride), others, strict=True) if other < first]
    return (own >= np.max(others, axis=0)) & (~np.any([s >= own for s in before], axis=0) if before else True)


def place(record: Record, answers: str, offsets: np.ndarray, before: int) -> tuple[int, int]:
    """The tokens where a record's first answer starts and ends, in the example; (0, 0) if it is not in this window."""
    given = [answer for answer in column(record, answers) if answer["text"] and answer["start"] >= 0]
    if not given:
        return 0, 0
    start, end = given[0]["start"], given[0]["start"] + len(given[0]["text"])
    inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end) & (offsets[:, 0] < offsets[:, 1]))
    whole = len(offsets) > 0 and offsets[0, 0] <= start and offsets[-1, 1] >= end
    return (before + int(inside[0]), before + int(inside[-1])) if whole and len(inside) else (0, 0)


def windowed(values: np.ndarray, encoded: Encoded, empty: Any) -> np.ndarray:
    """[T, …] → [n, L, …], each example padded to the longest."""
    lengths = encoded.lengths
    out = np.full((len(lengths), int(lengths.max()), *values.shape[1:]), empty, values.dtype)
    example = np.repeat(np.arange(len(lengths)), lengths)
    out[example, np.arange(len(example)) - encoded.offsets[example]] = values
    return out

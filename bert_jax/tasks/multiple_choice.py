"""Which of a few candidates goes with a text, such as a question's answers: BertForMultipleChoice.

Each candidate is read with the text, [CLS] text [SEP] candidate [SEP]; a linear layer gives it one logit, with dropout
before it, and the loss is the mean cross-entropy of the right candidate among those of its example (Devlin et al. 2018,
section 4.4, SWAG). The candidates of an example stand in the rows of one stack
(data_pipeline/batches/labelled_rows.py).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import Model
from bert_jax.metrics import classification
from bert_jax.modeling import heads
from bert_jax.modeling.heads import choice_head
from bert_jax.modeling.layers import dropout, split_key
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.tasks import Outputs, Task, _texts, shared_out
from bert_jax.tasks._pooling import Pooling, pooled, pooling_heads
from data_pipeline.batches.labelled_rows import Encoded
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record, check_text, column
from data_pipeline.tokenizers import Tokenizer

LabelIs = Literal["number", "text", "letter"]
ROWS = ("tokens", "segments", "positions", "token_types")  # fields of a batch [B, C, L]


def parts(model: Model, *, pooling: Pooling = "cls") -> Parts:
    """The head, and what the pooling trains."""
    return heads.parts(model, *pooling_heads(model, pooling), "choice_head")


def build(model: Model, vocabulary: Vocabulary, *, pooling: Pooling = "cls") -> Objective:
    """The objective; `pooling` is which vector stands for a candidate and its text."""
    del vocabulary

    def loss(params: Any, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        del constants
        found, accuracy = cross_entropy(logits(model, params, batch, pooling, key), batch["labels"], batch["weights"])
        return found, {"accuracy": accuracy}

    return Objective(shared_out("weights"), loss, ("places", "labels", "there", "weights"))


def logits(model: Model, params: Any, batch: Batch, pooling: Pooling, key: jax.Array | None) -> jax.Array:
    """float32 [B, E, C] of the candidates; those that an example does not have are −inf in effect."""
    encoder_key, head_key = split_key(key, 2)
    number = batch["tokens"].shape[1]
    rows = {name: batch[name].reshape(-1, batch[name].shape[-1]) for name in ROWS}
    rows["places"] = jnp.repeat(batch["places"], number, axis=0)
    vectors = dropout(pooled(model, params, rows, pooling, encoder_key), model.dropout, head_key)
    found = choice_head.logits(model, params, vectors).reshape(-1, number, rows["places"].shape[1])
    return jnp.where(batch["there"], found.swapaxes(1, 2), jnp.finfo(jnp.float32).min)


def task(
    *,
    text: str = "text",
    question: str = "",
    choices: str | tuple[str, ...] = "choices",
    label: str = "label",
    label_is: LabelIs = "number",
    joiner: str = " ",
    pooling: Pooling = "cls",
) -> Task:
    """The task.

    Args:
      text: column of the text; of a text that is too long with its candidate, the end is cut off.
      question: column of what stands before every candidate, such as a question or the start of a sentence.
      choices: column of the candidates, a list; or their columns.
      label: column of the right candidate.
      label_is: its number, from 0; its text; or a letter, from A.
      joiner: what stands between the question and a candidate: "" for Chinese.
    """
    columns = (text, *([question] if question else []), *([choices] if isinstance(choices, str) else choices))

    def second(record: Record) -> list[str]:
        before = check_text(record, question) + joiner if question else ""
        return [before + candidate for candidate in candidates(record, choices)]

    def encode(records: Sequence[Record], tokenizer: Tokenizer, length: int, labelled: bool) -> Encoded:
        pairs = [[(check_text(record, text), each) for each in second(record)] for record in records]
        number = max(map(len, pairs), default=0)
        firsts, seconds = ([pair[side] for own in pairs for pair in own] for side in (0, 1))
        ids = iter(zip(tokenizer.encode_batch(firsts), tokenizer.encode_batch(seconds), strict=True))
        rows: list[list[int]] = []
        types: list[list[int]] = []
        for own in pairs:
            for _ in own:
                ((first, other),) = _texts.cut(list(next(ids)), length, "head", 0)
                rows.append([tokenizer.cls_id, *first, tokenizer.sep_id, *other, tokenizer.sep_id])
                types.append([0] * (len(first) + 2) + [1] * (len(other) + 1))
            missing = number - len(own)
            rows, types = rows + [[]] * missing, types + [[]] * missing
        there = np.array([[place < len(own) for place in range(number)] for own in pairs])
        found = right(records) if labelled else np.zeros(len(records), np.int32)
        encoded = _texts.flat(rows, types, range(len(records)))
        return encoded._replace(per_example={"labels": found, "there": there}, candidates=number)

    def right(records: Sequence[Record]) -> np.ndarray:
        numbers = [label_number(record, label, label_is, candidates(record, choices)) for record in records]
        return np.array(numbers, np.int32)

    def outputs(model: Model, params: Any, batch: Batch) -> dict[str, jax.Array]:
        return {"probabilities": jax.nn.softmax(logits(model, params, batch, pooling, None))}

    def scores(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> dict[str, float]:
        found = classification.compute(right(records), outputs["probabilities"])
        return {name: found[name] for name in ("accuracy", "calibration_error")}

    def answers(outputs: Outputs, encoded: Encoded, records: Sequence[Record]) -> list[dict[str, Any]]:
        found = []
        for record, row in zip(records, outputs["probabilities"].astype(np.float64), strict=True):
            own = candidates(record, choices)
            best = int(row.argmax())
            found.append({"choice": best, "text": own[best], "probabilities": row[: len(own)].round(6).tolist()})
        return found

    def each(answers: Sequence[Mapping[str, Any]], records: Sequence[Record]) -> np.ndarray:
        return (np.array([answer["choice"] for answer in answers]) == right(records)).astype(float)

    find = lambda records: ()
    return Task(columns, find, encode, outputs, "example", scores, "accuracy", answers, each, "accuracy")


def candidates(record: Record, choices: str | tuple[str, ...]) -> list[str]:
    """A record's candidates.

    Raises:
      DataError: the value is no list of texts, one is empty, or there are fewer than two.
    """
    if not isinstance(choices, str):
        return [check_text(record, name) for name in choices]
    found = column(record, choices)
    if not isinstance(found, (list, tuple)) or not all(isinstance(each, str) and each.strip() for each in found):
        raise DataError(f"{record.where}: {choices} is {found!r:.60}; give a list of texts, none of them empty")
    if len(found) < 2:
        raise DataError(f"{record.where}: {choices} holds {len(found)} candidates; give two or more")
    return list(found)


def label_number(record: Record, label: str, label_is: LabelIs, own: Sequence[str]) -> int:
    """Which of its candidates is right.

    Raises:
      DataError: the label is none of them; the message says where.
    """
    value = column(record, label)
    said = str(value).strip()
    if label_is == "text":
        number = own.index(value) if value in own else -1
    elif label_is == "letter":
        number = ord(said.upper()) - ord("A") if len(said) == 1 else -1
    else:
        number = int(said) if said.isdecimal() else -1
    if not 0 <= number < len(own):
        wanted = {"number": f"a number from 0 to {len(own) - 1}", "text": f"the text of one of {own!r:.100}"}
        letters = f"a letter from A to {chr(ord('A') + len(own) - 1)}"
        raise DataError(f"{record.where}: {label} is {value!r}; it must be {wanted.get(label_is, letters)}")
    return number

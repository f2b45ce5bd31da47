"""Multiple choice: candidates of an example stay together, labels are found, the export answers the same."""

import json
import string

import jax
import numpy as np
import pytest

from bert_jax import finetune, predict
from bert_jax.config import FineTuning, Model, use
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.tasks import load_task
from configuration.variants import ConfigError
from data_pipeline.batches.labelled_rows import LabelledRows
from data_pipeline.checkpoint_tokenizer import read as read_tokenizer
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record

LETTERS = string.ascii_lowercase
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
MODEL = Model(vocab_size=len(PIECES), layers=1, width=24, heads=3, mlp_width=20, max_length=32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    params = jax.device_get(bert.init(MODEL, jax.random.key(3), heads.parts(MODEL, "pooler")))
    huggingface.write(MODEL, params, folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


def records(rng, number):
    """The right candidate says the text's first word again."""
    found = []
    for _ in range(number):
        first, *others = rng.permutation(list("abcdefgh"))[: rng.integers(3, 5)]
        own = [f"{other} {'z ' * rng.integers(0, 4)}".strip() for other in others]
        place = int(rng.integers(0, len(own) + 1))
        own.insert(place, str(first))
        found.append({"text": f"{first} {'q ' * rng.integers(1, 6)}".strip(), "choices": own, "label": place})
    return found


def encoded(encoder, rows, length=16, **options):
    task = load_task(use("multiple_choice", **options))
    return task.encode([Record(row, f"row {i}") for i, row in enumerate(rows)], read_tokenizer(encoder), length, True)


@pytest.mark.parametrize("packed", [True, False])
def test_candidates_of_an_example_share_a_stack(encoder, packed) -> None:
    """Every candidate of every example of an epoch, found again by where its example stands."""
    rows = records(np.random.default_rng(0), 50)
    found = encoded(encoder, rows, 32)
    stacks = LabelledRows(found, 32, 0, seed=3, packed=packed)
    assert stacks.rows == 50 if not packed else stacks.rows < 30
    batch, seen = stacks.batch(stacks.rows, stacks.rows), []
    assert batch["tokens"].shape == (stacks.rows, 4, 32)
    for stack, slot in np.argwhere(batch["examples"] >= 0):
        example, place = batch["examples"][stack, slot], batch["places"][stack, slot]
        for candidate in range(4):
            first, last = found.offsets[example * 4 + candidate : example * 4 + candidate + 2]
            own = np.flatnonzero(batch["segments"][stack, candidate] == slot + 1)
            np.testing.assert_array_equal(own, place + np.arange(last - first))
            np.testing.assert_array_equal(batch["tokens"][stack, candidate, own], found.tokens[first:last])
            np.testing.assert_array_equal(batch["positions"][stack, candidate, own], np.arange(last - first))
            assert batch["there"][stack, slot, candidate] == (last > first)
        seen.append(int(example))
    assert sorted(seen) == list(range(50))


def test_what_is_read_of_a_candidate(encoder) -> None:
    row = {"text": "a b c d e f g h", "question": "i", "first": "j", "other": "k l", "label": "B"}
    found = encoded(encoder, [row], 12, question="question", choices=("first", "other"), label_is="letter")
    shown = ["".join(PIECES[token] for token in own) for own in np.split(found.tokens, found.offsets[1:-1])]
    assert shown == ["[CLS]abcdefg[SEP]ij[SEP]", "[CLS]abcdef[SEP]ikl[SEP]"]
    assert found.token_types[: found.offsets[1]].tolist() == [0] * 9 + [1] * 3
    assert found.per_example["labels"].tolist() == [1]
    row = {"text": "a", "choices": ["1", "b"], "label": "b"}
    assert encoded(encoder, [row], label_is="text").per_example["labels"].tolist() == [1]


@pytest.mark.parametrize(
    ("row", "options", "message"),
    [
        ({"choices": "a b"}, {}, "row 0: choices is 'a b'; give a list of texts"),
        ({"choices": ["a", " "]}, {}, "none of them empty"),
        ({"choices": ["a"]}, {}, "row 0: choices holds 1 candidates; give two or more"),
        ({"label": 2}, {}, "row 0: label is 2; it must be a number from 0 to 1"),
        ({"label": -1}, {}, "row 0: label is -1; it must be a number from 0 to 1"),
        ({"label": "c"}, {"label_is": "letter"}, "row 0: label is 'c'; it must be a letter from A to B"),
        ({"label": "c"}, {"label_is": "text"}, "row 0: label is 'c'; it must be the text of one of"),
        ({}, {"choices": ("one", "two")}, "row 0 has no column 'one'"),
        ({}, {"label_is": "place"}, "label_is='place' is not"),
    ],
)
def test_mistakes_are_one_clear_line(encoder, row, options, message) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        encoded(encoder, [{"text": "t", "choices": ["a", "b"], "label": 0} | row], **options)


def test_a_task_from_files_to_answers(encoder, tmp_path, capsys) -> None:
    """Learnt, predicted, exported: transformers' class gives the same probabilities."""
    rng = np.random.default_rng(1)
    for split, number in (("train", 300), ("dev", 60)):
        lines = map(json.dumps, records(rng, number))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    source = use("json_lines", **{split: str(tmp_path / f"{split}.jsonl") for split in ("train", "dev")})
    settings = {"length": 32, "batch_size": 16, "epochs": 3, "learning_rate": 1e-3, "init_from": str(encoder)}
    tuning = FineTuning("choice", use("multiple_choice"), source, **settings)
    figures = finetune.finetune(tuning, tmp_path / "run")
    said = capsys.readouterr().err
    assert "stacks of 4 rows of 32" in said
    assert "not exported" not in said
    assert set(figures["scores"]) == {"dev_accuracy", "dev_calibration_error"}
    predictor = predict.load(tmp_path / "run")
    assert predictor.columns == ("text", "choices")
    row = {"text": "c q q", "choices": ["a z z z", "c", "d z"]}
    (answer,) = predictor([Record(row, "here")])
    assert answer["text"] == row["choices"][answer["choice"]]
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "run/huggingface"
    theirs, report = transformers.AutoModelForMultipleChoice.from_pretrained(folder, output_loading_info=True)
    assert type(theirs).__name__ == "BertForMultipleChoice"
    assert not report["missing_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer([row["text"]] * 3, row["choices"], padding=True, return_tensors="pt")
    logits = theirs.eval()(**{name: values[None] for name, values in tokens.items()}).logits
    np.testing.assert_allclose(logits.softmax(-1).detach().numpy()[0], answer["probabilities"], atol=1e-5)

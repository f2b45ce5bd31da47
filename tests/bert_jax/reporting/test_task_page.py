"""The page of a fine-tuning run: every kind of task, from files, with what is in them escaped."""

import json
import re

import pytest

from bert_jax.report import write_report

NASTY = "<script>alert('x')</script>"
LINES = {
    "classification": [
        {"text": text, "label": label, "predicted": {"label": said, "probabilities": {said: p, "z": 1 - p}}}
        for text, label, said, p in (
            (f"sure {NASTY}", "a", "b<", 0.99),
            ("unsure", "a", "b<", 0.51),
            ("well", "a", "a", 0.9),
            ("well", "b<", "b<", 1.0),
        )
    ],
    "regression": [
        {"text": "near", "label": "1.5", "predicted": {"value": 1.4}},
        {"text": NASTY, "label": "5", "predicted": {"value": 1.0}},
    ],
    "tagging": [{"words": ["Eve", NASTY], "tags": ["B-PER", "O"], "predicted": {"tags": ["O", "O"]}}],
    "question_answering": [
        {
            "question": NASTY,
            "context": "c",
            "answers": [{"text": "one", "start": 0}],
            "predicted": {"answer": "two", "start": 1, "candidates": [{"text": "two", "probability": 0.75}]},
        },
        {"question": "q", "context": "c", "answers": [], "predicted": {"answer": "", "start": 0, "candidates": []}},
    ],
    "multiple_choice": [
        {
            "text": NASTY,
            "choices": ["one", "two", "three"],
            "label": 2,
            "predicted": {"choice": 1, "text": "two", "probabilities": [0.1, 0.75, 0.15]},
        },
        {
            "text": "t",
            "choices": ["yes", "no"],
            "label": "1",
            "predicted": {"choice": 1, "text": "no", "probabilities": [0.2, 0.8]},
        },
    ],
    "mine.task": [{"text": "t", "predicted": {"positive": True}}],
}


def write(folder, task, seeds):
    found = [
        {"seed": s, "train_seconds": 60.0, "dev_f1": 0.8 + s / 100, "test_f1": 0.7, "test_accuracy": 0.9}
        for s in range(seeds)
    ]
    names = ("dev_f1", "test_f1", "test_accuracy")
    scores = {
        "task": f"mine {NASTY}",
        "encoder": "runs/demo",
        "metric": "f1",
        "labels": ["a", "b<"] if task == "classification" else [],
        "examples": {"train": 1234, "dev": 100, "test": 4},
        "seeds": found,
        "scores": {name: {"median": 0.7, "min": 0.6, "max": 0.8} for name in names},
        "tuning": {"name": "mine", "untrained": False, "task": {"name": task, "options": {}}, "epochs": 4},
    }
    (folder / "scores.json").write_text(json.dumps(scores))
    for seed in range(seeds):
        own = folder / f"seed-{seed}" if seeds > 1 else folder
        own.mkdir(exist_ok=True)
        steps = [
            {"step": step, "loss": 1 / step, **({"dev_f1": step / 40} if step % 10 == 0 else {})}
            for step in range(1, 31)
        ]
        (own / "metrics.jsonl").write_text("\n".join(map(json.dumps, steps)) + "\n")
        (own / "test_predictions.jsonl").write_text("\n".join(map(json.dumps, LINES[task])) + "\n")


@pytest.mark.parametrize("task", LINES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_page(tmp_path, task, seeds) -> None:
    write(tmp_path, task, seeds)
    text = write_report(tmp_path).read_text()
    assert NASTY not in text
    assert "Fine-tuning report" in text
    assert f"fine-tuned with {seeds} seed" in text
    assert "1,234 train, 100 dev, 4 test examples" in text
    heads = re.findall("<h2>(.*?)</h2>", text)
    assert heads[:2] == ["Scores", "Training"]
    assert ("Confusion matrix" in heads) == (task == "classification")
    assert ("The most confident mistakes" in heads) == (task != "mine.task")
    assert heads[-1] == "Configuration"
    assert text.count("<svg") == 3
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_the_surest_mistake_is_the_first_and_rows_of_the_matrix_are_right_labels(tmp_path) -> None:
    write(tmp_path, "classification", 2)
    text = write_report(tmp_path).read_text()
    assert "by seed 1" in text  # the best on dev
    assert text.index("sure &lt;script") < text.index("unsure")
    assert "well" not in text.split("The most confident mistakes")[1].split("Files")[0]
    table = text.split("right \\ predicted")[1].split("</table>")[0]
    assert re.findall(r">(\d+)</td>", table) == ["1", "2", "0", "1"]


def test_numbers_and_tags_that_are_wrong(tmp_path) -> None:
    write(tmp_path, "regression", 1)
    assert "4.00 apart" in write_report(tmp_path).read_text().split("0.10 apart")[0]
    write(tmp_path, "tagging", 1)
    assert "right: <b>Eve/B-PER</b> · predicted: <b>Eve/O</b> · 1 wrong tags" in write_report(tmp_path).read_text()

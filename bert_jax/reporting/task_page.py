"""The page of a fine-tuning run: scores and curves of each seed, the confusion matrix, the most confident mistakes.

It is made of the files of the work folder: scores.json and, of each seed, metrics.jsonl and the predictions.
"""

import bisect
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from bert_jax.reporting import charts, sections, seed_charts, vector_map
from bert_jax.reporting.metrics import FILE, read_metrics
from bert_jax.reporting.numbers import decimals, duration, percent, whole
from bert_jax.reporting.style import html_page
from configuration import foreign

SUMMARY = "scores.json"
MOST_MISTAKES, MOST_CHARACTERS, MOST_LABELS = 12, 400, 30
SHADE = 60  # per cent of the accent, of a cell with all examples of its row
Facts = Mapping[str, Any]


class Mistake(NamedTuple):
    """A wrong answer."""

    confidence: float  # higher is more confident; of numbers, their difference
    text: str
    right: str
    said: str
    measure: str  # the confidence in words


def page(workdir: Path) -> str:
    """The whole page as HTML, of a folder that holds scores.json."""
    scores = foreign.read_json(workdir / SUMMARY)
    folders = {seed["seed"]: workdir / f"seed-{int(seed['seed'])}" for seed in scores["seeds"]}
    folders = {seed: own if own.is_dir() else workdir for seed, own in folders.items()}
    split = "test" if f"test_{scores['metric']}" in scores["scores"] else "dev"
    best = max(scores["seeds"], key=lambda seed: seed.get(f"dev_{scores['metric']}", 0.0))["seed"]
    predictions = read(folders[best] / f"{split}_predictions.jsonl")
    body = [
        measures(scores),
        training(scores, folders),
        confusion(scores, predictions, split, best),
        confident(scores, predictions, split, best),
        vector_map.vector_map(read_map(workdir)),
        sections.files(workdir),
        sections.configuration(scores["tuning"]),
    ]
    header = title(scores) + headline(scores, split)
    return html_page(
        f"{scores['task']} – fine-tuning report", header, "".join(body), "from the files of the work folder"
    )


def read(path: Path) -> list[dict[str, Any]]:
    """The predictions of a file; none where there is none."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_map(workdir: Path) -> Facts:
    """The map of vectors that `bert_jax.vector_map` wrote; empty where there is none."""
    path = workdir / vector_map.FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def title(scores: Facts) -> str:
    """The task, and what was fine-tuned in one sentence."""
    tuning, seeds = scores["tuning"], len(scores["seeds"])
    encoder = "An encoder with fresh weights, of the shape of" if tuning["untrained"] else "The encoder"
    counts = ", ".join(f"{whole(count)} {split}" for split, count in scores.get("examples", {}).items())
    lede = f"{encoder} {scores['encoder']}, fine-tuned with {seeds} seed{'s' * (seeds > 1)}; {counts} examples."
    return (
        f'<p class="kicker">Fine-tuning report</p><h1>{escape(scores["task"])}</h1><p class="lede">{escape(lede)}</p>'
    )


def headline(scores: Facts, split: str) -> str:
    """The numbers that a reader wants first."""
    tiles = []
    if found := scores["scores"].get(f"{split}_{scores['metric']}"):
        spread = f"median; {number(found['min'])} to {number(found['max'])}" if len(scores["seeds"]) > 1 else ""
        name = f"{sections.label(scores['metric'])} on {split}"
        tiles.append(sections.tile(escape(name), number(found["median"]), "", spread))
    seconds = sum(seed["train_seconds"] for seed in scores["seeds"])
    tiles += [
        sections.tile("Training time", duration(seconds), "", "all seeds"),
        sections.tile("Training examples", whole(scores.get("examples", {}).get("train", math.nan)), "", ""),
    ]
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def measures(scores: Facts) -> str:
    """Every figure of every seed; nothing where no examples were held out."""
    if not scores["scores"]:
        return ""
    main = [
        f"{split}_{scores['metric']}" for split in ("test", "dev") if f"{split}_{scores['metric']}" in scores["scores"]
    ]
    dots = {sections.label(name): [seed[name] for seed in scores["seeds"]] for name in main}
    size = (charts.WIDE[0], 0.9 + 0.6 * len(dots))
    figure = sections.figure("Seeds", "a dot each; the bar is the median", seed_charts.dots_chart(dots, size))
    names = sorted(scores["scores"], key=lambda name: (name not in main, name))
    rows = [
        [sections.label(name), *(number(scores["scores"][name][of]) for of in ("median", "min", "max"))]
        for name in names
    ]
    table = sections.table("", ["Figure", "Median", "Lowest", "Highest"], rows)
    note = "Of the weights of each seed that were best on dev; higher is better, but for the calibration error."
    return sections.section("Scores", note, f'{figure}<div class="card">{table}</div>')


def training(scores: Facts, folders: Mapping[int, Path]) -> str:
    """The curves of each seed."""
    logs = [read_metrics(own / FILE) for own in folders.values() if (own / FILE).exists()]
    figures = ""
    for name, unit, metric, points in (
        ("Loss", "training, smoothed", "loss", False),
        (sections.label(scores["metric"]), "dev examples", f"dev_{scores['metric']}", True),
    ):
        curves = [found for log in logs if (found := sections.curve(log, metric)) is not None]
        if curves:
            drawn = seed_charts.lines_chart(escape(name), curves, charts.SMALL, points)
            figures += sections.figure(escape(name), unit, drawn)
    return (
        sections.section("Training", "A line for each seed.", f'<div class="grid two">{figures}</div>')
        if figures
        else ""
    )


def confusion(scores: Facts, predictions: Sequence[Facts], split: str, seed: int) -> str:
    """How often each label was taken for each; nothing where answers are no labels, or labels are too many."""
    labels = scores["labels"]
    if kind(predictions) != "label" or not 2 <= len(labels) <= MOST_LABELS:
        return ""
    pairs = Counter((right(scores, line), line["predicted"]["label"]) for line in predictions)
    rows = ""
    for name in labels:
        total = max(1, sum(pairs[name, said] for said in labels))
        cells = "".join(
            f'<td style="background:color-mix(in srgb, var(--accent) {SHADE * pairs[name, said] / total:.0f}%, '
            f'transparent)">{whole(pairs[name, said])}</td>'
            for said in labels
        )
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in labels)
    table = (
        f'<table><thead><tr><th scope="col">right \\ predicted</th>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    )
    note = f"The {whole(len(predictions))} examples of {split}, by seed {seed}; a row adds up to the label's examples."
    return sections.section("Confusion matrix", note, f'<div class="card"><div class="scroll">{table}</div></div>')


def confident(scores: Facts, predictions: Sequence[Facts], split: str, seed: int) -> str:
    """The mistakes that the model was most confident in."""
    found = sorted(mistakes(scores, predictions), key=lambda mistake: -mistake.confidence)[:MOST_MISTAKES]
    if not found:
        return ""
    cards = "".join(
        f'<div class="card"><p class="sentence">{escape(shortened(each.text))}</p>'
        f'<p class="caption">right: <b>{escape(each.right)}</b> · predicted: <b>{escape(each.said)}</b> · '
        f"{escape(each.measure)}</p></div>"
        for each in found
    )
    note = f"Those of {split}, by seed {seed}, of which the model was surest. Some may be mistakes of the labels."
    return sections.section("The most confident mistakes", note, f'<div class="grid two">{cards}</div>')


def mistakes(scores: Facts, predictions: Sequence[Facts]) -> Iterator[Mistake]:
    """The wrong answers."""
    if kind(predictions) == "cosine":
        yield from misranked(scores, predictions)
    for line in predictions:
        said, text = line["predicted"], texts(scores, line)
        if kind(predictions) == "label" and said["label"] != right(scores, line):
            probability = said["probabilities"][said["label"]]
            yield Mistake(probability, text, right(scores, line), said["label"], f"probability {percent(probability)}")
        elif kind(predictions) == "value" and said["value"] != float(right(scores, line)):
            apart = abs(said["value"] - float(right(scores, line)))
            yield Mistake(apart, text, right(scores, line), decimals(said["value"], 2), f"{decimals(apart, 2)} apart")
        elif kind(predictions) == "answer":
            wanted = [answer["text"] for answer in line[option(scores, "answers")]]
            candidates = said["candidates"] or [{"probability": 1.0}]
            if said["answer"] not in (wanted or [""]):
                probability = candidates[0]["probability"]
                answers = " / ".join(dict.fromkeys(wanted)) or "no answer"
                yield Mistake(
                    probability, text, answers, said["answer"] or "no answer", f"probability {percent(probability)}"
                )
        elif kind(predictions) == "choice" and chosen(scores, line) != said["text"]:
            probability = said["probabilities"][said["choice"]]
            right_one = chosen(scores, line)
            yield Mistake(probability, text, right_one, said["text"], f"probability {percent(probability)}")
        elif kind(predictions) == "tags":
            tags = zip(words(scores, line), right(scores, line), said["tags"], strict=False)
            wrong = [(f"{word}/{tag}", f"{word}/{guess}") for word, tag, guess in tags if tag != guess]
            if wrong:
                wanted_tags, guessed = (" ".join(each) for each in zip(*wrong, strict=True))
                yield Mistake(len(wrong), text, wanted_tags, guessed, f"{len(wrong)} wrong tags")


def misranked(scores: Facts, predictions: Sequence[Facts]) -> Iterator[Mistake]:
    """Pairs of texts by how far the rank of their cosine is from the rank of their score."""
    given = [float(line[option(scores, "score")]) for line in predictions]
    found = [line["predicted"]["cosine"] for line in predictions]
    ordered = sorted(given), sorted(found)
    for line, value, cosine in zip(predictions, given, found, strict=True):
        ranks = [bisect.bisect_left(of, own) / len(of) for of, own in zip(ordered, (value, cosine), strict=True)]
        said = f"cosine {decimals(cosine, 2)}, above {percent(ranks[1])}"
        wanted = f"{decimals(value, 2)}, above {percent(ranks[0])} of the pairs"
        apart = abs(ranks[1] - ranks[0])
        yield Mistake(apart, texts(scores, line), wanted, said, f"ranks {percent(apart)} apart")


def kind(predictions: Sequence[Facts]) -> str:
    """What an answer is, by the name of its field: a label, a value, an answer of a text, tags, or a cosine."""
    fields = predictions[0]["predicted"] if predictions else {}
    return next((name for name in ("label", "value", "answer", "choice", "tags", "cosine") if name in fields), "")


def option(scores: Facts, name: str) -> Any:
    """An option of the task that names a column; a column is called as its option unless the configuration says."""
    return scores["tuning"]["task"]["options"].get(name, name)


def right(scores: Facts, line: Facts) -> Any:
    """The right answer: a label or number as text, or tags."""
    if "tags" in line["predicted"]:
        found = line[option(scores, "tags")]
        return found.split() if isinstance(found, str) else found
    return str(line[option(scores, "label")])


def chosen(scores: Facts, line: Facts) -> str:
    """The text of the right candidate."""
    columns, label = option(scores, "choices"), str(line[option(scores, "label")]).strip()
    own = line[columns] if isinstance(columns, str) else [line[name] for name in columns]
    label_is = scores["tuning"]["task"]["options"].get("label_is", "number")
    if label_is == "text":
        return label
    return str(own[int(label) if label_is == "number" else ord(label.upper()) - ord("A")])


def words(scores: Facts, line: Facts) -> Sequence[str]:
    """The words of a tagged sentence."""
    found = line[option(scores, "words")]
    return found.split() if isinstance(found, str) else found


def texts(scores: Facts, line: Facts) -> str:
    """What was read of an example: a question alone of a question and its text."""
    if "answer" in line["predicted"]:
        return str(line[option(scores, "question")])
    if "tags" in line["predicted"]:
        return scores["tuning"]["task"]["options"].get("joiner", " ").join(words(scores, line))
    options = scores["tuning"]["task"]["options"]
    if "cosine" in line["predicted"]:
        return " ‖ ".join(str(line[name]) for name in options.get("pair", ("first", "second")))
    others = (options.get(name, "") for name in ("second", "question"))
    return " ‖ ".join(str(line[name]) for name in (option(scores, "text"), *others) if name)


def shortened(text: str) -> str:
    """A text that a card has room for: its head and its tail."""
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def number(value: float) -> str:
    """A score."""
    return decimals(value, 4)

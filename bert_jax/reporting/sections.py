"""The sections of the report, each from the facts of one file of the work folder to HTML.

Every string that comes from a file goes through `escape`. A fact that is missing leaves out what
would show it; a section without any facts is the empty string.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.reporting import charts
from bert_jax.reporting.layers import QUANTITIES, layer_charts
from bert_jax.reporting.numbers import compact, decimals, duration, percent, ratio, short, whole

Facts = Mapping[str, Any]
Records = Sequence[Facts]

FILES = {
    "config.json": "the whole configuration",
    "metrics.jsonl": "one line of numbers a logged step, in full precision",
    "layers.jsonl": "trust ratio and norms of each layer, one line each so many steps",
    "tensorboard": "the same numbers as TensorBoard events",
    "checkpoints": "parameters and optimizer state, to resume from",
    "store": "the prepared text: tokens, offsets, manifest, tokenizer",
    "data.json": "what is known of the text",
    "evaluation.json": "the held-out evaluation",
    "fill_mask.json": "the filled-in examples",
    "summary.json": "the figures of the whole run",
    "scores.json": "the scores of every seed, and the configuration",
    "seed-0": "the run of a seed, as each has: curves, checkpoint, predictions, the model for PyTorch",
    "encoder.json": "which weights the fine-tuning began with",
    "dev_predictions.jsonl": "each dev example with what the model answers",
    "test_predictions.jsonl": "each test example with what the model answers",
    "huggingface": "the model for PyTorch: from_pretrained of transformers opens it",
}


def title(config: Facts, name: str, records: Records) -> str:
    """The run's name, and what was trained in one sentence."""
    model = config.get("model", {})
    sentence = []
    if {"layers", "width", "heads"} <= model.keys():
        heads = f"{model['heads']} attention heads"
        sentence.append(f"An encoder of {model['layers']} layers, width {model['width']} and {heads}")
    if "phases" in config:
        steps = sum(phase["steps"] for phase in config["phases"])
        done = records[-1]["step"] if records else 0
        sentence.append(
            f"pretrained for {whole(steps)} steps" if done >= steps else f"at step {whole(done)} of {whole(steps)}"
        )
    if "optimizer" in config:
        sentence.append(f"with the optimizer {config['optimizer']['name']}")
    lede = f'<p class="lede">{escape(" ".join(sentence))}.</p>' if len(sentence) == 3 else ""
    return f'<p class="kicker">Pretraining report</p><h1>{escape(name)}</h1>{lede}'


def headline(evaluation: Facts, summary: Facts, records: Records) -> str:
    """The numbers that a reader wants first."""
    tiles = []
    if "eval_loss" in evaluation:
        tiles.append(tile("Held-out loss", decimals(evaluation["eval_loss"], 2), "nat", _against_unigram(evaluation)))
    if "eval_accuracy" in evaluation:
        tiles.append(tile("Held-out accuracy", percent(evaluation["eval_accuracy"]), "", "of the masked tokens"))
    if "pseudo_perplexity" in evaluation:
        tiles.append(tile("Pseudo-perplexity", compact(evaluation["pseudo_perplexity"]), "", "on held-out documents"))
    if "train_seconds" in summary:
        total = f"{duration(summary['total_seconds'])} in all" if "total_seconds" in summary else ""
        tiles.append(tile("Training time", duration(summary["train_seconds"]), "", total))
    speed = summary.get("tokens_per_second") or _median(records, "tokens_per_second")
    if speed:
        tiles.append(tile("Throughput", compact(speed), "tokens/s", "padding not counted"))
    if "parameters" in summary:
        tiles.append(tile("Parameters", compact(summary["parameters"]), "", whole(summary["parameters"])))
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def training(records: Records, evaluation: Facts) -> str:
    """The curves of loss, learning rate and throughput."""
    loss = curve(records, "loss")
    if loss is None:
        return ""
    baseline, held_out = evaluation.get("unigram_loss"), evaluation.get("eval_loss")
    evaluations = curve(records, "eval_loss")
    legend = [_key("chart-faint", "", "single steps"), _key("chart-line", "", "smoothed")]
    if baseline is not None:
        legend.append(_key("chart-baseline", "dashed", f"unigram baseline {decimals(baseline, 2)}"))
    if evaluations is not None:
        legend.append(_key("chart-mark", "", "held-out rows during training"))
    if held_out is not None:
        legend.append(_key("chart-mark", "dot", f"held-out documents {decimals(held_out, 2)}"))
    drawn = "".join(
        f'<div class="{shown}">{charts.loss_chart(loss, baseline, held_out, size, evaluations)}</div>'
        for shown, size in (("wide", charts.WIDE), ("narrow", charts.NARROW))
    )
    main = figure("Loss", "nat per masked token", f'<ul class="legend">{"".join(legend)}</ul>{drawn}')
    small = _small_curve("Learning rate", "", records, "learning_rate", ratio)
    small += _small_curve("Throughput", "tokens per second, padding not counted", records, "tokens_per_second", short)
    return section("Training", "", main + (f'<div class="grid two">{small}</div>' if small else ""))


def layers(records: Records) -> str:
    """What the optimizer did to each layer, from layers.jsonl."""
    drawn = layer_charts(records)
    figures = "".join(figure(*QUANTITIES[name], chart) for name, chart in drawn.items())
    note = "A line for each layer, from the first (pale) to the last; logarithmic scales, over the steps."
    return section("Layers", note, f'<div class="grid">{figures}</div>') if figures else ""


def held_out(evaluation: Facts) -> str:
    """The evaluation beside the unigram baseline of the same positions."""
    rows = [
        [words, number(evaluation[name]), number(evaluation[baseline]) if baseline in evaluation else "–"]
        for words, name, baseline, number in (
            ("Cross-entropy (nat)", "eval_loss", "unigram_loss", lambda value: decimals(value, 3)),
            ("… where [MASK] is shown", "mask_loss", "mask_unigram_loss", lambda value: decimals(value, 3)),
            ("Accuracy", "eval_accuracy", "unigram_accuracy", percent),
            ("… where [MASK] is shown", "mask_accuracy", "", percent),
            ("Pseudo-perplexity", "pseudo_perplexity", "unigram_perplexity", lambda value: decimals(value, 1)),
        )
        if name in evaluation
    ]
    if not rows:
        return ""
    note = "On documents kept from training, beside a model that knows only how often each token occurs."
    if {"step", "eval_predictions", "eval_rows"} <= evaluation.keys():
        step, tokens, lines = (whole(evaluation[name]) for name in ("step", "eval_predictions", "eval_rows"))
        note += f" Measured after step {step} on {tokens} masked tokens of {lines} rows."
    if "mask_loss" in evaluation:
        note += " A tenth of them show the very token that is asked for, which is easily copied."
    if "pseudo_perplexity_tokens" in evaluation:
        tokens = whole(evaluation["pseudo_perplexity_tokens"])
        note += f" For the pseudo-perplexity, {tokens} tokens were each masked alone."
    measures = table("", ["Measure", "This model", "Unigram"], rows)
    return section("Held-out evaluation", note, f'<div class="card">{measures}</div>')


def examples(fills: Records) -> str:
    """Sentences with gaps, and the model's most probable tokens for each as bars on one scale."""
    most = max((p["probability"] for fill in fills for mask in fill["masks"] for p in mask), default=0.0)
    cards = "".join(_example(fill, most) for fill in fills)
    note = "The most probable tokens for each gap; the first stands in the sentence. All bars share one scale."
    return section("Filling in the mask", note, f'<div class="grid two">{cards}</div>') if cards else ""


def text(data: Facts) -> str:
    """What was trained on: counts of each split, sources with their licences, row lengths and padding."""
    beside, cards = [], []
    counted = ("documents", "sentences", "tokens")
    splits = data.get("splits", {})
    if splits:
        rows = [[label(name), *(_count(split, c) for c in counted)] for name, split in splits.items()]
        beside.append(f'<div class="card">{table("Size", ["Split", *map(label, counted)], rows)}</div>')
    lengths = data.get("row_lengths", {})
    if lengths.get("counts"):
        drawn = charts.histogram_chart(lengths["edges"], lengths["counts"], charts.SMALL)
        beside.append(figure("Row lengths", "rows by their number of tokens", drawn))
    if beside:
        cards.append(f'<div class="grid two">{"".join(beside)}</div>')
    if data.get("sources"):
        rows = [[source["name"], source.get("about", "–"), _count(source, "documents")] for source in data["sources"]]
        cards.append(
            f'<div class="card">{table("Sources", ["Source", "What it is", "Documents"], rows, words=2)}</div>'
        )
    if data.get("cleaning"):
        cards.append(f'<div class="card">{cleaning_table(data["cleaning"])}</div>')
    note = ""
    if "share_of_padding" in data:
        note = f"{percent(data['share_of_padding'])} of the positions in the rows of training are padding."
    return section("The text", note, "".join(cards)) if cards or note else ""


def cleaning_table(report: Facts) -> str:
    """What each cleaning rule did, as `data_pipeline.clean` reports it."""
    rows = []
    for rule in report["rules"]:
        reasons = [f"{reason} {whole(count)}" for reason, count in rule["reasons"].items()]
        what = ", ".join(reasons) or (f"{whole(rule['changed'])} documents changed" if "changed" in rule else "–")
        share = percent(rule["documents"] / max(1, report["documents"]))
        rows.append([label(rule["name"]), what, whole(rule["documents"]), share, compact(rule["characters"])])
    heads = ["Rule", "What it found", "Documents removed", "Share", "Characters"]
    return table("Cleaning", heads, rows, words=2)


def files(workdir: Path) -> str:
    """What lies beside the report."""
    rows = "".join(
        f'<div><dt><a href="{name}"><code>{name}</code></a></dt><dd>{words}</dd></div>'
        for name, words in FILES.items()
        if (workdir / name).exists()
    )
    body = f'<dl class="card files">{rows}</dl>'
    return section("Files", "In the work folder, beside this page.", body) if rows else ""


def configuration(config: Facts) -> str:
    """Every field of the configuration, folded away."""
    if not config:
        return ""
    groups: dict[str, Facts] = {"Run": {name: value for name, value in config.items() if not _is_group(value)}}
    for name, value in config.items():
        if _is_group(value):
            parts = value if isinstance(value, list) else [value]
            for number, part in enumerate(parts, start=1):
                groups[f"{label(name)} {number}" if len(parts) > 1 else label(name)] = part
    tree = "".join(
        f"<section><h3>{escape(name)}</h3><dl>{_fields(fields)}</dl></section>"
        for name, fields in groups.items()
        if fields
    )
    folded = f'<summary>Every field of this run</summary><div class="tree">{tree}</div>'
    return section("Configuration", "", f'<details class="card">{folded}</details>')


def curve(records: Records, name: str) -> charts.Curve | None:
    """Steps [n] and values [n] of one metric, or None where fewer than two are finite."""
    points = [(record["step"], record[name]) for record in records if name in record]
    steps, values = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
    return (steps, values) if np.isfinite(values).sum() > 1 else None


def _against_unigram(evaluation: Facts) -> str:
    if "unigram_loss" not in evaluation:
        return ""
    below = evaluation["unigram_loss"] - evaluation["eval_loss"]
    side, tone = ("below", "good") if below >= 0 else ("above", "warm")
    words = f"{decimals(abs(below), 2)} {side}"
    return f'<span class="{tone}">{words}</span> unigram’s {decimals(evaluation["unigram_loss"], 2)}'


def _small_curve(name: str, unit: str, records: Records, metric: str, number: Any) -> str:
    found = curve(records, metric)
    if found is None:
        return ""
    return figure(name, unit, charts.curve_chart(name, found, number, charts.SMALL))


def _example(fill: Facts, most: float) -> str:
    start, *rest = fill["text"].split("[MASK]")
    gaps = (f"<mark>{escape(_shown(mask[0]['token']))}</mark>" for mask in fill["masks"])
    sentence = escape(start) + "".join(gap + escape(after) for gap, after in zip_longest(gaps, rest, fillvalue=""))
    bars = "".join(
        f'<ol class="bars">{"".join(_bar(_shown(p["token"]), p["probability"], most) for p in mask)}</ol>'
        for mask in fill["masks"]
    )
    return f'<div class="card"><p class="sentence">{sentence}</p>{bars}</div>'


def _bar(token: str, probability: float, most: float) -> str:
    width = 100 * probability / most if most else 0.0
    return (
        f'<li><span class="token">{escape(token)}</span>'
        f'<span class="track" aria-hidden="true"><i style="width:{width:.1f}%"></i></span>'
        f'<span class="share">{percent(probability)}</span></li>'
    )


def _shown(token: str) -> str:
    return token.removeprefix("▁") or "␣"


def _is_variant(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"name", "options"}


def _is_group(value: Any) -> bool:
    """Whether the value has fields of its own: a part of the configuration, or several such parts."""
    if isinstance(value, list):
        return bool(value) and all(_is_group(item) for item in value)
    return isinstance(value, Mapping) and not _is_variant(value)


def _fields(fields: Facts, depth: int = 0) -> str:
    """The fields as lines of a <dl>; what belongs to a field stands under it, further right."""
    lines = []
    for name, value in fields.items():
        nested = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
        for item in value if nested else [value]:
            under = item["options"] if _is_variant(item) else item if isinstance(item, Mapping) else {}
            words = item["name"] if _is_variant(item) else "" if isinstance(item, Mapping) else _scalar(item)
            style = f' style="padding-left:{depth}rem"' if depth else ""
            line = f"<div{style}><dt>{escape(label(name))}</dt><dd>{escape(words)}</dd></div>"
            lines.append(line + _fields(under, depth + 1))
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_scalar(item) for item in value) or "none"
    return "none" if value is None or value == "" else str(value)


def label(name: str) -> str:
    return name[:1].upper() + name[1:].replace("_", " ")


def _median(records: Records, name: str) -> float | None:
    found = curve(records, name)
    return None if found is None else float(np.nanmedian(found[1]))


def _key(colour: str, kind: str, words: str) -> str:
    paint = "background" if kind == "dot" else "border-color"
    return f'<li><i class="{kind}" style="{paint}:var(--{colour})"></i>{words}</li>'


def tile(name: str, number: str, unit: str, note: str) -> str:
    unit = f'<span class="unit">{unit}</span>' if unit else ""
    note = f'<dd class="note">{note}</dd>' if note else ""
    return f'<div><dt>{name}</dt><dd class="number">{number}{unit}</dd>{note}</div>'


def figure(name: str, unit: str, body: str) -> str:
    caption = f"{name} <small>{unit}</small>" if unit else name
    return f'<figure class="card"><figcaption><h3>{caption}</h3></figcaption>{body}</figure>'


def _count(counts: Facts, name: str) -> str:
    return whole(counts[name]) if name in counts else "–"


def section(name: str, note: str, body: str) -> str:
    return f"<section><h2>{name}</h2>{f'<p>{note}</p>' if note else ''}{body}</section>"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns hold words, the others numbers; cells are escaped."""

    def cell(tag: str, scope: str, column: int, value: str) -> str:
        return f"<{tag}{scope}{' class=words' if column < words else ''}>{escape(value)}</{tag}>"

    head = "".join(cell("th", ' scope="col"', i, value) for i, value in enumerate(heads))
    lines = (
        cell("th", ' scope="row"', 0, row[0]) + "".join(cell("td", "", i, v) for i, v in enumerate(row[1:], 1))
        for row in rows
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    named = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll"><table>{named}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

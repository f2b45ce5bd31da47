"""The page of a store, from the facts that bert_jax/analysis/inspection.py collects."""

from collections.abc import Mapping
from html import escape
from pathlib import PurePath
from typing import Any

from bert_jax.reporting import charts, sections
from bert_jax.reporting.numbers import compact, decimals, percent, whole
from bert_jax.reporting.sections import figure, label, section, table, tile
from bert_jax.reporting.style import html_page

Facts = Mapping[str, Any]

_COLOURS = 6  # of documents, in the style


def page(facts: Facts) -> str:
    """The whole page as HTML."""
    name = PurePath(facts["name"]).name
    header = (
        f'<p class="kicker">Prepared text</p><h1>{escape(name)}</h1><p class="lede">{_lede(facts)}</p>{_tiles(facts)}'
    )
    body = [
        sections.text({name: value for name, value in facts.items() if name != "cleaning"}),  # that has its own
        _lengths(facts),
        _rows(facts),
        _cleaning(facts["cleaning"]),
        _pieces(facts),
        sections.configuration({"data": facts["made"]} if facts["made"] else {}),
    ]
    return html_page(f"{name} – prepared text", header, "".join(body), f"from the store {facts['fingerprint'][:12]}")


def _lede(facts: Facts) -> str:
    sources = len(facts["sources"])
    of = f" from {sources} source{'s' * (sources > 1)}" if sources else ""
    kind = facts["tokenizer"].replace("_", " ")
    return escape(f"Text{of} as {kind} tokens, shown in rows of {facts['row_format']} at {facts['length']} tokens.")


def _tiles(facts: Facts) -> str:
    train = facts["splits"]["train"]
    pieces = decimals(1 / facts["word_starts"], 2) if facts["word_starts"] else "–"
    return (
        '<dl class="tiles">'
        + tile("Tokens to train on", compact(train["tokens"]), "", whole(train["tokens"]))
        + tile("Documents", compact(train["documents"]), "", f"{whole(train['sentences'])} sentences")
        + tile("Vocabulary", whole(facts["vocab_size"]), "pieces", f"{whole(facts['never'])} never used")
        + tile("Pieces a word", pieces, "", "as the store's word starts say")
        + tile("Unknown", percent(facts["unknown"]), "", "of the tokens")
        + tile("Padding", percent(facts["share_of_padding"]), "", f"of {whole(facts['rows'])} rows")
        + _overlap(facts["overlap"])
        + "</dl>"
    )


def _overlap(found: Facts) -> str:
    if not found.get("documents"):
        return ""
    note = f"most of whose runs of {found['words']} words are in the training text too"
    return tile("Held-out documents", percent(found["repeated"] / found["documents"]), "repeated", note)


def _lengths(facts: Facts) -> str:
    note = f"Of the text to train on. Filling the rows cut {percent(facts['cut_documents'])} of its documents."
    drawn = []
    for what in ("document", "sentence"):
        if histogram := facts[f"{what}_lengths"]:
            chart = charts.histogram_chart(histogram["edges"], histogram["counts"], charts.SMALL, what)
            middle = f"half are at most {whole(histogram['median_to'])} tokens"
            drawn.append(figure(f"{label(what)}s", middle, chart))
    return section("Lengths", note, f'<div class="grid two">{"".join(drawn)}</div>')


def _rows(facts: Facts) -> str:
    legend = (
        '<ul class="legend row"><li><mark>word</mark> hidden behind [MASK]</li>'
        '<li><mark class="random">word<small>other</small></mark> replaced by a random token</li>'
        '<li><mark class="kept">word</mark> predicted, but left as it is</li>'
        '<li><span class="together"><mark>two</mark> <mark>words</mark></span> drawn as one, such as a span</li></ul>'
    )
    labels = [f'<p class="kicker">{escape(each)}</p>' if each else "" for each in facts["row_labels"]]
    cards = "".join(
        f'<div class="card">{label}<p class="row">{_row(row)}</p></div>'
        for row, label in zip(facts["rows_shown"], labels, strict=True)
    )
    note = (
        "Rows as training reads them, each document in a row with its own colour; masks drawn by the objective"
        f" {escape(facts['objective'])}."
    )
    return section("Rows", note, f'{legend}<div class="grid">{cards}</div>')


def _row(row: list[Any]) -> str:
    parts = []
    for token, (opens, closes) in zip(row, unit_ends(row), strict=True):
        text, document, shown = token.text, token.document, token.shown
        if not document:
            parts.append(f'<span class="special">{escape(text)}</span>')
            continue
        inner = escape(text)
        if shown is not None:
            space, word = (" ", text[1:]) if text.startswith(" ") else ("", text)
            kind = "" if shown == "[MASK]" else ' class="kept"' if shown == text else ' class="random"'
            other = f"<small>{escape(shown.strip())}</small>" if "random" in kind else ""
            inner = f"{space}<mark{kind}>{escape(word)}{other}</mark>"
        several = shown is not None and not (opens and closes)
        begin, end = '<span class="together">' * (several and opens), "</span>" * (several and closes)
        parts.append(f'{begin}<span class="d{(document - 1) % _COLOURS}">{inner}</span>{end}')
    return "".join(parts)


def unit_ends(row: list[Any]) -> list[tuple[bool, bool]]:
    """Of each token whether it begins a predicted unit, and whether it ends one."""
    units = [-1, *(token.unit if token.shown is not None else -1 for token in row), -1]
    inside = zip(units[:-2], units[1:-1], units[2:], strict=True)
    return [(before != unit, after != unit) for before, unit, after in inside]


def _cleaning(report: Facts) -> str:
    if not report:
        return ""
    removed = sum(rule["documents"] for rule in report["rules"])
    note = f"{whole(removed)} of {whole(report['documents'])} documents were removed, by these rules in this order."
    cards = [f'<div class="card">{sections.cleaning_table(report)}</div>']
    for rule in report["rules"]:
        if rule["samples"]:
            samples = "".join(_sample(sample) for sample in rule["samples"])
            title = f"<h3>Removed by {escape(rule['name'].replace('_', ' '))}, for example</h3>"
            cards.append(f'<div class="card">{title}<ul class="samples">{samples}</ul></div>')
    return section("Cleaning", note, "".join(cards))


def _sample(sample: Facts) -> str:
    why = f"<b>{escape(sample['reason'])}</b> · " if sample["reason"] else ""
    like = ""
    if "original" in sample:
        like = f"<br><small>like {escape(sample['original_id'])}</small> {escape(sample['original'])}"
    return f"<li>{why}<small>{escape(sample['id'])}</small><br>{escape(sample['text'])}{like}</li>"


def _pieces(facts: Facts) -> str:
    frequent = facts["frequent"]
    if not frequent:
        return ""
    half, heads = -(-len(frequent) // 2), ["Piece", "Share of the tokens"]
    tables = "".join(
        f'<div class="card">{table("", heads, [[_visible(p), percent(s)] for p, s in part])}</div>'
        for part in (frequent[:half], frequent[half:])
        if part
    )
    note = "The commonest pieces of the vocabulary; ␣ is a space before the piece."
    return section("Pieces", note, f'<div class="grid two">{tables}</div>')


def _visible(text: str) -> str:
    return text.replace(" ", "␣").replace("\n", "⏎")

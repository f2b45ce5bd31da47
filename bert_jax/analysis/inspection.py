"""Summary of a store for reading: counts, histograms, what cleaning removed, rows with their masks.

The masks are drawn by the configured objective itself, so that what is shown is what training sees.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from bert_jax.config import Config, Model, Phase
from bert_jax.reporting.numbers import compact, percent, whole
from bert_jax.reporting.store_page import page, unit_ends
from bert_jax.training.setup import check_fields, data_facts, make_objective, open_examples
from configuration import cli
from data_pipeline import clean, overlap
from data_pipeline.store import Split, Store
from data_pipeline.store.memory import release

ROWS = 6  # that are shown
MASK = "[MASK]"  # whatever the vocabulary calls it
_FREQUENT = 24  # pieces
_AT_ONCE = 1 << 20  # offsets read together
_COLOURS = (39, 214, 42, 177, 203, 247)  # of documents, among the 256 of a terminal
_BAR = 40  # characters


class Token(NamedTuple):
    """A position of a row."""

    text: str  # with a space first where one stands before it
    document: int  # its number within the row from 1; 0 for [CLS] and [SEP]
    shown: str | None  # at a predicted position, the text that the model sees there, or MASK
    unit: int = -1  # at a predicted position, the number of its unit, such as a word or a span


Facts = dict[str, Any]


def default_config(store: Store) -> Config:
    """Rows and masks that are shown of a store without a configuration: full sentences at 128 tokens, BERT's masks."""
    phase = Phase(steps=1, length=128, batch_size=1, learning_rate=1.0)
    return Config(name=store.path.name, phases=(phase,), model=Model(vocab_size=store.vocab_size))


def inspect(store: Store, config: Config) -> Facts:
    """Everything that is shown, as plain data, except `rows`, lists of `Token`.

    Raises:
      ConfigError, DataError: the configuration makes no rows of this store.
    """
    train, counts, tokenizer = store.split("train"), store.token_counts, store.tokenizer
    order = np.argsort(-counts.astype(np.int64), kind="stable")[:_FREQUENT]
    total = int(counts.sum())
    return {
        **data_facts(config, store),
        "name": str(store.path),
        "fingerprint": store.fingerprint,
        "tokenizer": tokenizer.kind,
        "vocab_size": store.vocab_size,
        "made": store.manifest.made.get("data", {}),
        "length": config.phases[-1].length,
        "row_format": config.data.rows.name,
        "objective": config.objectives[-1].name,
        "unknown": int(counts[tokenizer.unk_id]) / max(1, total),
        "never": int((counts == 0).sum()),
        "word_starts": _share_of_word_starts(train),
        "document_lengths": _lengths(train, "document"),
        "sentence_lengths": _lengths(train, "sentence"),
        "frequent": [(_text(tokenizer, int(i)), int(counts[i]) / max(1, total)) for i in order if counts[i]],
        **_rows_shown(config, store),
    }


def _share_of_word_starts(split: Split) -> float:
    """Share of word starts in the first shards: enough to tell, and quick on any store."""
    starts = [shard.annotation("word_starts", 0, min(shard.facts.tokens, _AT_ONCE)) for shard in split.shards[:4]]
    return float(np.concatenate(starts).mean()) if starts else 0.0


def _lengths(split: Split, what: str) -> dict[str, Any]:
    """Lengths in tokens of all documents or sentences: a histogram in factors of the root of 2, and the median."""
    edges = np.unique(np.round(2 ** (np.arange(0, 65) / 2)))
    counts = np.zeros(len(edges) - 1, np.int64)
    for shard in split.shards:
        offsets = shard.document_offsets if what == "document" else shard.sentence_offsets
        for start in range(0, len(offsets) - 1, _AT_ONCE):
            chunk = offsets[start : start + _AT_ONCE + 1]
            tokens = shard.sentence_offsets[chunk] if what == "document" else chunk
            counts += np.histogram(np.diff(tokens.astype(np.int64)), edges)[0]
            release(shard.tokens)  # all sections are of one mapped file
    used = np.flatnonzero(counts)
    if not used.size:
        return {}
    first, last = max(0, used[0] - 1), used[-1] + 1
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return {
        "edges": edges[first : last + 1].astype(int).tolist(),
        "counts": counts[first:last].tolist(),
        "median_from": int(edges[middle]),
        "median_to": int(edges[middle + 1]) - 1,
    }


def _rows_shown(config: Config, store: Store) -> Facts:
    """Rows of training of the last phase, each as its first batch has it, masks as its first step could draw them.

    With the labels of each, such as "pair_label 1".
    """
    objective = make_objective(config, store)
    examples = open_examples(config, store, len(config.phases) - 1, objective.needs)
    check_fields(config, objective, examples)
    batch: Any = examples.batch(0, min(ROWS, examples.rows))
    corrupted = jax.device_get(objective.corrupt(batch, jax.random.key(config.seed)))
    labels = [name for name, values in batch.items() if values.ndim == 1]
    return {
        "rows_shown": list(_rows(store.tokenizer, batch, corrupted)),
        "row_labels": [
            ", ".join(f"{name} {batch[name][row]}" for name in labels) for row in range(len(batch["tokens"]))
        ],
    }


def _rows(tokenizer: Any, batch: Any, corrupted: Any) -> Iterator[list[Token]]:
    for row, segments in enumerate(batch["segments"]):
        shown: dict[int, str] = {}
        units: dict[int, int] = {}
        if "target_positions" in corrupted:
            used = corrupted["target_weights"][row] > 0
            places = corrupted["target_positions"][row][used].tolist()
            shown = {place: _text(tokenizer, int(corrupted["tokens"][row, place])) for place in places}
            of_places = corrupted["target_units"][row][used].tolist() if "target_units" in corrupted else places
            units = dict(zip(places, of_places, strict=True))
        yield [
            Token(
                _text(tokenizer, int(token)),
                0 if token in (tokenizer.cls_id, tokenizer.sep_id) else int(segments[place]),
                shown.get(place),
                units.get(place, -1),
            )
            for place, token in enumerate(batch["tokens"][row])
            if segments[place]
        ]


def _text(tokenizer: Any, token: int) -> str:
    if token == tokenizer.mask_id:
        return MASK
    if token in (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id):
        return tokenizer.pieces([token])[0]
    return tokenizer.surfaces[token].decode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------------- the terminal


def terminal(facts: Facts, colours: bool) -> str:
    """All of it as text; with `colours`, documents and masks are told apart by escape sequences."""
    lines = [
        f"{facts['name']}   {whole(facts['vocab_size'])} pieces of {facts['tokenizer']},"
        f" fingerprint {facts['fingerprint'][:12]}",
        "",
        f"{'':<10}{'documents':>14}{'sentences':>14}{'tokens':>16}",
    ]
    for name, split in facts["splits"].items():
        lines.append(
            f"{name.replace('_', ' '):<10}{split['documents']:>14,}{split['sentences']:>14,}{split['tokens']:>16,}"
        )
    for source in facts["sources"]:
        lines.append(f"source {source['name']}: {source.get('about') or 'no description'}")
    lines.append(
        f"{1 / max(facts['word_starts'], 1e-9):.2f} pieces a word, {percent(facts['unknown'])} of the tokens unknown,"
        f" {whole(facts['never'])} pieces never used"
    )
    if overlaps := overlap.describe(facts["overlap"]):
        lines.append(overlaps)
    if facts["cleaning"]:
        lines += ["", clean.describe(facts["cleaning"])]
    for what in ("document", "sentence", "row"):
        lines += ["", f"{what} lengths in tokens", *_bars(facts[f"{what}_lengths"])]
    lines += ["", f"{facts['row_format']} at {facts['length']} tokens: {whole(facts['rows'])} rows,"]
    lines[-1] += f" {percent(facts['share_of_padding'])} padding, {percent(facts['cut_documents'])} of documents cut"
    lines.append("⟦word⟧ is hidden behind [MASK], ⟦word→other⟧ shows another token, ⟦word→word⟧ shows itself;")
    lines.append("tokens in the same brackets were drawn as one, such as a word or a span")
    for number, (row, labels) in enumerate(zip(facts["rows_shown"], facts["row_labels"], strict=True)):
        lines += ["", f"row {number}{': ' * bool(labels)}{labels}", _painted(row, colours)]
    return "\n".join(lines)


def _bars(histogram: Facts) -> list[str]:
    counts, edges = histogram.get("counts", []), histogram.get("edges", [])
    most = max(counts, default=1) or 1
    return [
        f"  {first:>7,} to {last - 1:>7,} {'█' * round(_BAR * count / most):<{_BAR}} {compact(count)}"
        for first, last, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def _painted(row: list[Token], colours: bool) -> str:
    """A row on a terminal; predicted units stand in brackets, with what is shown where it is not [MASK]."""
    parts = []
    for (text, document, shown, _), (opens, closes) in zip(row, unit_ends(row), strict=True):
        part = f" {text} " if not document else text
        if shown is not None:
            sees = "" if shown == MASK else f"→{shown.strip()}"
            part = f"{' ' * text.startswith(' ')}{'⟦' * opens}{text.strip()}{sees}{'⟧' * closes}"
        if colours:
            code = f"38;5;{_COLOURS[(document - 1) % len(_COLOURS)]}" if document else "2"
            part = f"\033[{code}{';7' if shown is not None else ''}m{part}\033[0m"
        parts.append(part)
    return "".join(parts).strip()


def run(store: Store, config: Config, html: str) -> Facts:
    """The command: prints the store, writes the page if one is asked for, and gives the figures."""
    facts = inspect(store, config)
    print(terminal(facts, colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    if html:
        cli.write_text(Path(html), page(facts))
        print(f"\n{html}")
    return {name: value for name, value in facts.items() if name != "rows_shown"}

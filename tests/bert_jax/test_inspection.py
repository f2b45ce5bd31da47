"""What is shown of a store is what is in it, and masks are those of the objective."""

import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
import runs

from bert_jax.analysis import inspection
from bert_jax.reporting.store_page import page
from bert_jax.training import setup
from configuration import flags as config_flags
from configuration.variants import use
from data_pipeline.store import Store

NASTY = "<script>alert('x')</script> & \"quoted\""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return runs.make_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def facts(recipe):
    return inspection.inspect(Store.open(recipe.parent / "store"), config_flags.read(str(recipe)))


def test_counts_and_histograms_are_those_of_the_store(recipe, facts):
    (shard,) = Store.open(recipe.parent / "store").split("train").shards
    sentences = np.diff(shard.sentence_offsets.astype(int))
    documents = np.diff(shard.sentence_offsets[shard.document_offsets].astype(int))
    for what, lengths in {"sentence": sentences, "document": documents}.items():
        found = facts[f"{what}_lengths"]
        np.testing.assert_array_equal(found["counts"], np.histogram(lengths, found["edges"])[0])
        assert sum(found["counts"]) == len(lengths)
        assert found["median_from"] <= np.sort(lengths)[(len(lengths) - 1) // 2] <= found["median_to"]
    tokens, counts = np.unique(shard.tokens, return_counts=True)
    assert facts["never"] == runs.V - len(tokens)
    most = tokens[counts.argmax()]
    assert facts["frequent"][0] == (f" w{most - 5}", pytest.approx(counts.max() / counts.sum()))


def test_rows_are_those_of_training_with_the_masks_of_the_objective(recipe, facts):
    config = config_flags.read(str(recipe))
    store = Store.open(recipe.parent / "store")
    batch = setup.open_examples(config, store, 0).batch(0, inspection.ROWS)
    masked = jax.device_get(setup.make_objective(config, store).corrupt(batch, jax.random.key(config.seed)))
    assert len(facts["rows_shown"]) == inspection.ROWS
    kinds = set()
    for row, shown in enumerate(facts["rows_shown"]):
        ids = [int(i) for i, segment in zip(batch["tokens"][row], batch["segments"][row], strict=True) if segment]
        assert [token.text.strip() for token in shown] == [p.strip("▁") for p in store.tokenizer.pieces(ids)]
        changed = {i for i, t in enumerate(shown) if t.shown is not None and t.shown != t.text}
        assert changed == set(np.flatnonzero(masked["tokens"][row] != batch["tokens"][row]))
        assert sum(t.shown is not None for t in shown) == (masked["target_weights"][row] > 0).sum()
        assert {t.document for t in shown if t.document} == {*batch["segments"][row].tolist()} - {0}
        kinds |= {t.shown for t in shown if t.shown}
    assert "[MASK]" in kinds


def test_a_unit_has_one_mark_and_a_row_its_labels(recipe):
    """Spans drawn as one stand in one pair of brackets, whatever is shown of their tokens."""
    config = config_flags.read(str(recipe))
    data = dataclasses.replace(config.data, rows=use("segment_pair", label="sop"))
    config = dataclasses.replace(config, data=data, objective=use("mlm_pair", masking=use("spans"), mask_rate=0.5))
    facts = inspection.inspect(Store.open(recipe.parent / "store"), config)
    assert set(facts["row_labels"]) == {"pair_label 0", "pair_label 1"}
    text, html = inspection.terminal(facts, colours=False), page(facts)
    several = 0
    for row in facts["rows_shown"]:
        units = [token.unit for token in row if token.shown is not None]
        several += sum(units.count(unit) > 1 for unit in set(units))
    single = [len({token.unit for token in row if token.shown is not None}) for row in facts["rows_shown"]]
    assert several > 3
    assert text.count("⟦") == text.count("⟧") == sum(single) + 3  # and those of the legend
    assert html.count('<span class="together">') == several + 1
    assert html.count("pair_label") == len(facts["row_labels"])


class Page(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_users_text_stays_text(facts):
    samples = [{"id": NASTY, "text": NASTY, "reason": NASTY, "original_id": NASTY, "original": NASTY}]
    rule = {"name": NASTY, "documents": 3, "characters": 9, "reasons": {NASTY: 3}, "samples": samples}
    more = {
        "cleaning": {"documents": 9, "characters": 9, "rules": [rule]},
        "frequent": [(NASTY, 0.1)],
        "sources": [{"name": NASTY, "about": NASTY, "documents": 3}],
        "rows_shown": [[inspection.Token(NASTY, 1, NASTY + "!")]],
        "row_labels": [""],
        "name": f"stores/{NASTY.replace('/', '')}",
    }
    html = page({**facts, **more})
    shown = Page(html)
    assert "script" not in shown.tags
    assert shown.text.count(NASTY) + shown.text.count(NASTY.replace(" ", "␣")) == 13
    assert all(link.startswith(("data:", "#")) for link in shown.links)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)


def test_what_the_training_text_repeats_of_the_held_out_text(facts):
    assert not facts["overlap"]  # of a store that was not prepared of text
    more = {**facts, "overlap": {"words": 8, "documents": 200, "repeated": 30}}
    assert "15.0% of 200 held-out documents have most of their runs of 8 words" in inspection.terminal(more, False)
    assert "most of whose runs of 8 words are in the training text too" in Page(page(more)).text


def test_the_command(recipe, tmp_path):
    command = [sys.executable, "-m", "bert_jax.inspect", f"--store={recipe.parent / 'store'}"]
    done = subprocess.run(
        [*command, f"--html={tmp_path / 'a.html'}", f"--json={tmp_path / 'a.json'}"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "row lengths in tokens" in done.stdout
    assert "⟦w" in done.stdout
    assert "\033[" not in done.stdout  # no colours where nobody sees them
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads((tmp_path / "a.json").read_text())["vocab_size"] == runs.V
    of_a_config = subprocess.run(
        [*command, f"--config={recipe}", "--config.phases.0.length=20"], capture_output=True, text=True
    )
    assert of_a_config.returncode == 0, of_a_config.stderr
    nothing = subprocess.run(command[:3], capture_output=True, text=True)
    assert (nothing.returncode, nothing.stderr) == (2, "error: --store=… is missing; --help lists the flags\n")

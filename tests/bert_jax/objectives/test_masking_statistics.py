"""Which tokens are drawn and what is shown in their places, by statistics over many rows of random words."""

import jax
import numpy as np
import pytest
import scipy.stats
from test_mlm import MODEL, VOCABULARY

from bert_jax.config import Mesh
from bert_jax.objectives import mlm
from bert_jax.objectives.masking import _units
from bert_jax.runtime import sharding
from configuration.variants import ConfigError, load, use

ROWS = 100_000
ALBERT, MACBERT = (6, 3, 2), (40, 30, 20, 10)
GEOMETRIC = [0.2 * 0.8**n for n in range(10)]
MASKINGS = {
    "whole_words": use("whole_words"),
    "units": use("units", annotation="names"),
    "albert": use("ngrams"),
    "macbert": use("ngrams", shares=MACBERT),
    "spans": use("spans"),
}


def words_batch(rows: int, length: int, most: int, seed: int = 0, documents: int = 2) -> dict[str, np.ndarray]:
    """Rows of documents, each `[CLS] text [SEP]`, of words of 1 to `most` tokens; the last tenth is padding."""
    rng = np.random.default_rng(seed)
    place, used = np.arange(length), length - length // 10
    ends = np.repeat([[used * (d + 1) // documents - 1 for d in range(documents)]], rows, axis=0)
    ends[:, :-1] += rng.integers(-3, 4, (rows, documents - 1))
    is_sep = (place[None, :, None] == ends[:, None]).any(-1)
    is_cls = np.roll(is_sep, 1, axis=1)
    is_cls[:, 0], is_cls[:, used] = True, False
    segments = np.where(place < used, np.cumsum(is_cls, axis=1), 0)
    gaps = rng.integers(1, most + 1, (rows, length))
    starts = np.zeros((rows, length), bool)
    np.put_along_axis(starts, np.minimum(np.cumsum(gaps, axis=1), length - 1), True, axis=1)
    starts |= is_sep | is_cls | np.roll(is_cls, 1, axis=1)
    tokens = np.where(is_sep, VOCABULARY.sep, np.where(is_cls, VOCABULARY.cls, rng.integers(5, 101, (rows, length))))
    return {
        "tokens": np.where(segments > 0, tokens, VOCABULARY.pad).astype(np.int32),
        "segments": segments.astype(np.int32),
        "positions": np.broadcast_to(place, (rows, length)).astype(np.int32),
        "token_types": np.zeros((rows, length), np.int32),
        "word_starts": starts & (segments > 0),
        "names": starts & (rng.random((rows, length)) < 0.6),
    }


def corrupted(batch, rate, key=0, **options):
    corrupt = jax.jit(mlm.build(MODEL, VOCABULARY, mask_rate=rate, **options).corrupt)
    return jax.device_get(corrupt(batch, jax.random.key(key)))


def one_each(out, rng) -> np.ndarray:
    """A predicted place of each row, drawn among its slots: independent from row to row."""
    count = (out["target_weights"] > 0).sum(1)
    slot = (rng.random(len(count)) * count).astype(int)
    return np.take_along_axis(out["target_positions"], slot[:, None], axis=1)[:, 0]


def assert_fits(counts, shares) -> None:
    """A chi-squared test that errs once in ten thousand times, on draws that are always the same."""
    expected = np.asarray(shares, float) / np.sum(shares) * np.sum(counts)
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-4, (np.asarray(counts), expected)


@pytest.mark.parametrize("name", MASKINGS)
@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_the_budget_is_met_by_whole_units_within_documents(name, rate):
    batch = words_batch(600, 64, most=4)
    out = corrupted(batch, rate, masking=MASKINGS[name])
    text = (batch["segments"] > 0) & (batch["tokens"] > 4)
    wanted = np.rint(np.float32(rate) * text.sum(1).astype(np.float32))
    found = (out["target_weights"] > 0).sum(1)
    assert (found <= wanted).all()
    assert (found == wanted).mean() > {"spans": 0.999, "units": 0.6}.get(name, 0.9)
    assert (found >= wanted - 3).all() or name == "units"
    for row in range(600):
        used = out["target_weights"][row] > 0
        places, units = out["target_positions"][row][used], out["target_units"][row][used]
        drawn = np.isin(np.arange(64), places)
        assert text[row][places].all()
        assert len(set(out["target_positions"][row])) == out["target_positions"].shape[1]
        for unit in np.unique(units):
            inside = places[units == unit]
            np.testing.assert_array_equal(inside, np.arange(unit, unit + len(inside)))  # a run
            assert len(set(batch["segments"][row][inside])) == 1
        if name != "spans":
            whole = "names" if name == "units" else "word_starts"
            word = np.cumsum(batch[whole][row] | ~text[row] | ~np.roll(text[row], 1))
            by_word = [set(drawn[(word == w) & text[row]]) for w in set(word[places])]
            assert all(len(found) == 1 for found in by_word)


def test_draws_depend_on_the_row_and_not_on_its_neighbours():
    batch = words_batch(64, 64, most=3)
    for masking in (MASKINGS["units"], MASKINGS["spans"]):
        whole = corrupted(batch, 0.15, masking=masking)
        first = corrupted({name: values[:32] for name, values in batch.items()}, 0.15, masking=masking)
        for name in ("target_positions", "target_units", "tokens"):
            np.testing.assert_array_equal(first[name], whole[name][:32])


def test_draws_are_the_same_on_a_mesh():
    batch = words_batch(16, 64, most=3)
    options = {"masking": MASKINGS["spans"], "replacement": use("per_unit")}
    mesh = sharding.make_mesh(Mesh(1, 2, 2, 1), jax.devices()[:4])
    corrupt = jax.jit(sharding.on_mesh(mesh, mlm.build(MODEL, VOCABULARY, **options).corrupt))
    split = jax.device_get(corrupt(sharding.put_batch(batch, mesh), jax.random.key(0)))
    for name, values in corrupted(batch, 0.15, **options).items():
        np.testing.assert_array_equal(split[name], values)


@pytest.mark.parametrize("shares", [ALBERT, MACBERT, GEOMETRIC], ids=["albert", "macbert", "spanbert"])
def test_groups_have_the_lengths_of_the_paper_and_start_anywhere(shares):
    """But for the last one of each row, of so many."""
    group = jax.jit(lambda key, words: _units.group(words, shares, key))
    starts = np.asarray(group(jax.random.key(1), np.ones((200, 2048), bool)))
    sizes = np.concatenate([np.diff([*places, places[0] + 2048]) for places in map(np.flatnonzero, starts)])
    assert len(sizes) > ROWS
    assert_fits(np.bincount(sizes, minlength=len(shares) + 1)[1:], shares)
    starts = np.asarray(group(jax.random.key(2), np.ones((4000, 50), bool)))
    rate = starts.mean()
    z = (starts.sum(0) - 4000 * rate) / np.sqrt(4000 * rate * (1 - rate))
    assert np.abs(z).max() < 4
    assert z.std() == pytest.approx(1, abs=0.35)


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("whole_words", "macbert")]


@pytest.mark.parametrize("name", ["albert", "spans", *SLOW])
def test_no_edge_is_preferred(name):
    """Each word of a text of one-token words is as likely, from the first to the last."""
    batch = words_batch(ROWS, 44, most=1, documents=1)
    out = corrupted(batch, 0.15, masking=MASKINGS[name])
    counts = np.bincount(one_each(out, np.random.default_rng(1)), minlength=44)
    text = (batch["segments"][0] > 0) & (batch["tokens"][0] > 4)
    assert counts[~text].sum() == 0
    assert_fits(counts[text], np.ones(text.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["albert", "macbert", "spans"])
def test_no_edge_is_preferred_in_two_documents(name):
    batch = words_batch(ROWS, 44, most=1, seed=3)
    batch = {field: np.broadcast_to(values[:1], values.shape) for field, values in batch.items()}
    counts = np.bincount(
        one_each(corrupted(batch, 0.15, masking=MASKINGS[name]), np.random.default_rng(2)), minlength=44
    )
    text = (batch["segments"][0] > 0) & (batch["tokens"][0] > 4)
    assert_fits(counts[text], np.ones(text.sum()))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shares"), [("albert", ALBERT), ("macbert", MACBERT)])
def test_drawn_ngrams_have_the_lengths_of_the_paper(name, shares):
    """But for the last one of a row and what fills the budget after it: of long rows, one in fifty or so."""
    batch = words_batch(3000, 512, most=1, documents=1)
    out = corrupted(batch, 0.15, masking=MASKINGS[name])
    lengths = []
    for units, weights in zip(out["target_units"], out["target_weights"], strict=True):
        lengths.append(np.unique(units[weights > 0], return_counts=True)[1])
    counts = np.bincount(np.concatenate(lengths), minlength=len(shares) + 1)[1:]
    np.testing.assert_allclose(counts / counts.sum(), np.asarray(shares) / np.sum(shares), atol=0.012)


SPANS = use("spans")


@pytest.mark.parametrize(
    ("masking", "unit"), [(SPANS, "masking"), (SPANS, "word"), (use("whole_words"), "masking")], ids=str
)
def test_eighty_ten_ten_by_the_unit(masking, unit):
    batch = words_batch(ROWS // 4, 64, most=3)
    batch["tokens"] = np.where(batch["tokens"] > 4, 7, batch["tokens"])
    out = corrupted(batch, 0.15, masking=masking, replacement=use("per_unit", unit=unit))
    used = out["target_weights"] > 0
    units = out["target_units"]
    if unit == "word":
        firsts = np.maximum.accumulate(np.where(batch["word_starts"], np.arange(64), 0), axis=1)
        units = np.take_along_axis(firsts, out["target_positions"], axis=1)
    shown = np.take_along_axis(out["tokens"], out["target_positions"], axis=1)
    kinds = np.where(shown == VOCABULARY.mask, 0, np.where(shown == 7, 2, 1))[used]
    number = (np.arange(len(units))[:, None] * 64 + units)[used]
    _, size = np.unique(number, return_counts=True)
    order = np.argsort(number, kind="stable")
    grouped = np.split(kinds[order], np.cumsum(size)[:-1])
    mixed = [set(each) for each in grouped if len(set(each)) > 1]
    assert len(mixed) < 0.01 * len(grouped)  # a random token may be [MASK] or the token itself
    assert sum(1 not in each for each in mixed) < 5
    counts = np.bincount([1 if 1 in each else each[0] for each in grouped], minlength=3)
    assert_fits(counts, [0.8 + 0.1 / 101 / 2, 0.1, 0.1 + 0.1 / 101 / 2])
    assert counts.sum() > ROWS or masking == SPANS


def test_tokens_of_a_unit_are_replaced_by_themselves_with_mask():
    batch = words_batch(ROWS // 4, 64, most=1)
    batch["tokens"] = np.where(batch["tokens"] > 4, 7, batch["tokens"])
    out = corrupted(batch, 0.15, masking=SPANS)
    shown = np.take_along_axis(out["tokens"], out["target_positions"], axis=1)
    masked, used = shown == VOCABULARY.mask, out["target_weights"] > 0
    same = (out["target_units"][:, 1:] == out["target_units"][:, :-1]) & used[:, 1:]
    both = np.bincount(masked[:, 1:][same].astype(int) + masked[:, :-1][same], minlength=3)
    p = 0.8 + 0.1 / 101
    assert both.sum() > 50_000
    assert both / both.sum() == pytest.approx([(1 - p) ** 2, 2 * p * (1 - p), p * p], abs=0.006)


@pytest.mark.parametrize(
    ("masking", "error"),
    [
        (use("ngrams", shares=()), "masking.shares"),
        (use("ngrams", shares=(1, -1)), "masking.shares"),
        (use("spans", p=1.0), "masking.p"),
        (use("spans", longest=0), "masking.longest"),
    ],
    ids=str,
)
def test_options_that_make_no_sense(masking, error):
    with pytest.raises(ConfigError, match=error):
        load("bert_jax.objectives.masking", masking)()

"""The charts: what they draw, and that a page can hold several of them."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from bert_jax.reporting import charts
from bert_jax.reporting.numbers import compact, ratio

STEPS = np.arange(10.0, 1010.0, 10.0)
LOSS = 5 + 4 * np.exp(-STEPS / 200) + 0.1 * np.sin(STEPS)


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))


def labels(svg: str) -> list[str]:
    return [element.text or "" for element in parse(svg).iter("text")]


def naive_smoothed(values: np.ndarray) -> np.ndarray:
    out = []
    for i in range(len(values)):
        half = min(i, len(values) - 1 - i, round(len(values) * charts.SMOOTHED_SHARE / 2))
        window = [v for v in values[i - half : i + half + 1] if np.isfinite(v)]
        out.append(sum(window) / len(window) if window else np.nan)
    return np.array(out)


@pytest.mark.parametrize("n", [2, 3, 37, 101, 1000])
def test_smoothing_is_the_centred_mean(n):
    values = np.random.default_rng(n).normal(size=n)
    values[n // 2] = np.nan
    np.testing.assert_allclose(charts.smoothed(values), naive_smoothed(values), rtol=1e-12, atol=1e-12)


def test_smoothing_keeps_a_line_and_both_ends():
    np.testing.assert_allclose(charts.smoothed(STEPS), STEPS)
    noisy = np.random.default_rng(0).normal(size=101)
    assert charts.smoothed(noisy)[[0, -1]].tolist() == pytest.approx(noisy[[0, -1]].tolist())
    assert charts.smoothed(noisy).std() < 0.7 * noisy.std()


@pytest.mark.parametrize("n", [1, 37, charts.MOST_POINTS, charts.MOST_POINTS + 1, 100_003])
def test_thinning_keeps_the_first_and_the_last_point(n):
    kept = charts._thinned(n)
    assert (kept[0], kept[-1]) == (0, n - 1)
    assert len(kept) == n if n <= charts.MOST_POINTS else charts.MOST_POINTS / 2 < len(kept) <= charts.MOST_POINTS + 1
    assert (np.diff(kept) > 0).all()


def test_the_loss_chart_follows_the_page():
    svg = charts.loss_chart((STEPS, LOSS), 6.0, 5.1, charts.WIDE)
    root = parse(svg)
    for name in charts.PAPER:
        assert f"var(--chart-{name})" in svg
    assert not re.search(r"#[0-9a-f]{6}", re.sub(r"url\(#\w+\)|href=\"#\w+\"", "", svg))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Training loss over 1,000 steps, from 8.75 to 5.11 nat."
    assert not list(root.iter("style"))
    assert not list(root.iter("metadata"))
    assert {"0", "200", "1,000", "5", "8", "step"} <= set(labels(svg))


def test_without_a_baseline_nothing_stands_for_it():
    svg = charts.loss_chart((STEPS, LOSS), None, None, charts.WIDE)
    assert "var(--chart-baseline)" not in svg
    assert "var(--chart-mark)" not in svg


def test_evaluations_during_training_are_a_line_of_their_own():
    line = lambda **given: [
        path.get("d", "").count("L")
        for path in parse(charts.loss_chart((STEPS, LOSS), None, None, charts.WIDE, **given)).iter("path")
        if "stroke: var(--chart-mark)" in path.get("style", "")
    ]
    assert line() == []
    assert line(evaluations=(np.array([250.0, 500.0, 750.0]), np.array([8.0, 7.0, 6.5]))) == [2]


def test_what_is_not_finite_leaves_a_gap():
    loss = LOSS.copy()
    loss[40:45] = np.nan
    svg = charts.loss_chart((STEPS, loss), None, None, charts.WIDE)
    (faint,) = (e for e in parse(svg).iter("path") if "chart-faint" in e.get("style", ""))
    assert faint.get("d", "").count("M") == 2
    assert "nan" not in svg.lower()


def test_every_label_lies_within_its_chart():
    svg = charts.curve_chart("Learning rate", (STEPS, STEPS * 1e-7), ratio, charts.SMALL)
    root = parse(svg)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    places = [(float(t.get("x", 0)), float(t.get("y", 0))) for t in root.iter("text")]
    assert len(places) > 6
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    assert {"0", "2e-5", "0.0001", "1,000"} <= set(labels(svg))


def test_the_histogram_has_a_bar_for_each_count():
    svg = charts.histogram_chart([0, 16, 32, 64], [1, 20, 300], charts.SMALL)
    bars = [path for path in parse(svg).iter("path") if "fill: var(--chart-line)" in path.get("style", "")]
    assert len(bars) == 3
    assert parse(svg).get("aria-label") == "Histogram of row lengths: 93.5% of 321 rows have 32 to 64 tokens."


def test_charts_of_one_page_share_no_ids_and_are_the_same_each_time():
    def drawn() -> list[str]:
        return [
            charts.loss_chart((STEPS, LOSS), 6.0, 5.1, charts.WIDE),
            charts.loss_chart((STEPS, LOSS), 6.0, 5.1, charts.NARROW),
            charts.curve_chart("Learning rate", (STEPS, LOSS), ratio, charts.SMALL),
            charts.curve_chart("Throughput", (STEPS, LOSS), compact, charts.SMALL),
            charts.histogram_chart([0, 16, 32], [3, 4], charts.SMALL),
        ]

    ids = [found for svg in drawn() for found in re.findall(r' id="([^"]*)"', svg)]
    used = [found for svg in drawn() for found in re.findall(r"(?:url\(#|href=\"#)(\w+)", svg)]
    assert len(ids) == len(set(ids))
    assert used
    assert set(used) <= set(ids)
    assert drawn() == drawn()


def test_the_picture_has_every_curve(tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "curves.png"
    charts.png(path, (STEPS, LOSS), (STEPS, STEPS * 1e-6), (STEPS, LOSS * 1000), 6.0, 5.1)
    pixels = np.round(imread(path)[..., :3] * 255).astype(int)
    assert pixels.shape == (840, 2000, 3)
    assert list(tmp_path.iterdir()) == [path]

    def painted(colour: str, part: np.ndarray) -> int:
        rgb = [int(charts.PAPER[colour][i : i + 2], 16) for i in (1, 3, 5)]
        return int((part == rgb).all(-1).sum())

    left, upper, lower = pixels[:, :1250], pixels[:420, 1300:], pixels[420:, 1300:]
    assert painted("baseline", left) > 1000
    assert painted("mark", left) > 50
    assert min(painted("line", part) for part in (left, upper, lower)) > 500
    assert painted("baseline", pixels[:, 1300:]) == 0

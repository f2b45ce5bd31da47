"""The report's page: self-contained, safe, accessible, and made of whatever files there are."""

import json
import math
import random
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.attacking import hostile
from bert_jax.config import Config, Data, Model, Phase
from bert_jax.report import write_png, write_report
from configuration import flags as config_flags
from configuration.variants import ConfigError, use
from data_pipeline.errors import DataError

NASTY = "<script>alert('x')</script> & \"quoted\""
SECTIONS = {
    "metrics.jsonl": "Training",
    "evaluation.json": "Held-out evaluation",
    "fill_mask.json": "Filling in the mask",
    "data.json": "The text",
    "config.json": "Configuration",
}
VOID = {"meta", "link", "br", "img", "use", "path", "rect"}


def write_run(folder: Path, text: str = "plain", steps: int = 300) -> Path:
    """A work folder as a run leaves it; `text` stands in every place that a user's text gets to."""
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(
        name=text,
        phases=(Phase(steps=steps, length=128, batch_size=64, learning_rate=2e-3),) * 2,
        data=Data(sources=(use("text_files", paths=text), use("news"))),
        model=Model(vocab_size=8000, layers=3, width=96, heads=3),
        optimizer=use("lamb", weight_decay=0.01),
        examples=(text,),
    )
    records = [
        {
            "step": step,
            "loss": 5 + 4 * math.exp(-step / 60) + 0.05 * math.sin(step),
            "learning_rate": 2e-3 * min(step / 30, (2 * steps - step) / (2 * steps - 30)),
            "tokens_per_second": 9400.0 + step % 70,
        }
        for step in range(10, 2 * steps + 1, 10)
    ]
    splits = {
        "train": {"documents": 48211, "sentences": 301222, "tokens": 7210334},
        "held_out": {"documents": 988, "sentences": 6123, "tokens": 149211},
    }
    files = {
        "config.json": config_flags.to_dict(config),
        "evaluation.json": {
            "step": 2 * steps,
            "eval_loss": 4.9321,
            "unigram_loss": 5.9911,
            "eval_accuracy": 0.2314,
            "pseudo_perplexity": 129.43,
            "unigram_perplexity": 402.11,
            "eval_predictions": 38211,
            "eval_rows": 2048,
            "pseudo_perplexity_tokens": 12311,
        },
        "data.json": {
            "splits": splits,
            "share_of_padding": 0.0423,
            "row_lengths": {"edges": [0, 32, 64, 96, 128], "counts": [3, 20, 511, 19000]},
            "sources": [{"name": text, "about": text, "documents": 40012}, {"name": "News"}],
            "cleaning": {
                "documents": 50000,
                "rules": [
                    {"name": "length", "documents": 801, "characters": 9911, "reasons": {text: 801}, "samples": []}
                ],
            },
        },
        "summary.json": {
            "train_seconds": 512.3,
            "total_seconds": 661.0,
            "tokens_per_second": 9412.2,
            "parameters": 5412352,
        },
        "fill_mask.json": {
            "examples": [
                {
                    "text": f"{text} is the [MASK] of France.",
                    "masks": [[{"token": "▁capital", "probability": 0.25}, {"token": text, "probability": 0.05}]],
                }
            ]
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


class Page(HTMLParser):
    """The elements, texts and headings of a page; fails on tags that do not nest."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h2":
            self.headings.append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.text += data + " "
        if self.open and self.open[-1] == "h2":
            self.headings[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(workdir: Path) -> Page:
    return Page(write_report(workdir).read_text())


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    """The page of a whole run."""
    return write_report(write_run(tmp_path_factory.mktemp("run"))).read_text()


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_the_page_shows_the_key_numbers(page):
    words = " ".join(page.text.split())
    assert page.headings == [*list(SECTIONS.values())[:4], "Files", "Configuration"]
    for number in (
        "Held-out loss 4.93 nat 1.06 below unigram’s 5.99",
        "Held-out accuracy 23.1%",
        "Pseudo-perplexity 129 on",
        "Training time 8 min 32 s 11 min 1 s in all",
        "Throughput 9.41k tokens/s",
        "Parameters 5.41M 5,412,352",
        "3 layers, width 96 and 3 attention heads pretrained for 600 steps with the optimizer lamb",
        "Cross-entropy (nat) 4.932 5.991",
        "Pseudo-perplexity 129.4 402.1",
        "after step 600 on 38,211 masked tokens of 2,048 rows. For the pseudo-perplexity, 12,311 tokens",
        "Train 48,211 301,222 7,210,334",
        "Held out 988 6,123 149,211",
        "4.2% of the positions",
        "News – –",
        "capital 25.0%",
        "Weight decay 0.01",
        "Phases 2 Steps 300",
    ):
        assert number in words
    assert "{" not in words  # no raw JSON in sight


def test_bars_share_one_scale(page):
    widths = [found for i in page.all("i") for found in re.findall(r"width:([\d.]+)%", i.get("style") or "")]
    assert widths == ["100.0", "20.0"]


def test_a_sentence_may_have_several_gaps(tmp_path):
    masks = [
        [{"token": f"▁{word}", "probability": p}, {"token": "##s", "probability": p / 2}]
        for word, p in (("one", 0.4), ("two", 0.1))
    ]
    (tmp_path / "fill_mask.json").write_text(json.dumps({"examples": [{"text": "[MASK] and [MASK].", "masks": masks}]}))
    html = write_report(tmp_path).read_text()
    assert '<p class="sentence"><mark>one</mark> and <mark>two</mark>.</p>' in html
    assert re.findall(r"width:([\d.]+)%", html) == ["100.0", "50.0", "25.0", "12.5"]


def test_the_page_needs_nothing_but_itself(html, page):
    assert "http" not in html
    assert "//" not in re.sub(r"\s", "", html)
    assert "@import" not in html
    assert set(re.findall(r"url\(.", html)) == {"url(#"}
    assert not {"script", "img", "iframe", "object", "source"} & {tag for tag, _ in page.elements}
    links = [value for _, a in page.elements for name, value in a.items() if name in ("href", "src", "xlink:href")]
    assert all(re.fullmatch(r"#\w+|data:,|[a-z_]+(\.jsonl?)?", link or "") for link in links)


def test_user_text_stays_text(tmp_path, page):
    nasty = read(write_run(tmp_path, NASTY))
    assert [tag for tag, _ in nasty.elements] == [tag for tag, _ in page.elements]
    assert [sorted(a) for _, a in nasty.elements] == [sorted(a) for _, a in page.elements]
    # the heading, the source's name and what it is, a reason of cleaning, the sentence, a token; the
    # configuration's name, paths and example
    assert nasty.text.count(NASTY) == page.text.count("plain") == 10


def test_the_page_can_be_read_aloud(page):
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("svg")) == 5
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert len(page.all("table")) == 4
    assert {th["scope"] for th in page.all("th")} == {"col", "row"}
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert len(page.all("h1")) == 1


def test_the_page_follows_light_and_dark(html):
    light, dark = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    defined = [set(re.findall(r"(--[\w-]+):", part)) for part in (light, dark)]
    assert defined[0] == defined[1] >= set(re.findall(r"var\((--[\w-]+)\)", html))
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("name", SECTIONS)
def test_a_missing_file_leaves_out_its_section_alone(tmp_path, name):
    (write_run(tmp_path) / name).unlink()
    assert read(tmp_path).headings == [
        h for h in (*list(SECTIONS.values())[:4], "Files", "Configuration") if h != SECTIONS[name]
    ]


def test_an_empty_folder_still_has_a_page(tmp_path):
    folder = tmp_path / "runs & tests"
    folder.mkdir()
    page = read(folder)
    assert page.headings == []
    assert "runs & tests" in page.text


def test_a_run_under_way_says_where_it_stands(tmp_path):
    run = write_run(tmp_path)
    for name in ("summary.json", "evaluation.json", "fill_mask.json"):
        (run / name).unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[3] = lines[3].replace(str(json.loads(lines[3])["loss"]), "null")
    (run / "metrics.jsonl").write_text("\n".join([*lines[:20], '{"step": 21']))
    words = " ".join(read(run).text.split())
    assert "at step 200 of 600" in words
    assert "Throughput 9.43k" in words  # the median of what is logged
    assert "baseline" not in words


def test_a_loss_above_the_baseline_is_said_to_be(tmp_path):
    run = write_run(tmp_path)
    (run / "evaluation.json").write_text(json.dumps({"eval_loss": 7.5, "unigram_loss": 6.0}))
    assert "1.50 above unigram’s 6.00" in " ".join(read(run).text.split())


def test_evaluations_during_training_are_a_line_of_the_loss(tmp_path, html):
    assert "held-out rows during training" not in html
    run = write_run(tmp_path)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluated = [line | {"eval_loss": line["loss"] + 1} if line["step"] % 50 == 0 else line for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in evaluated))
    assert "held-out rows during training" in write_report(run).read_text()
    assert write_png(run, tmp_path / "curves.png").exists()


def test_the_same_folder_gives_the_same_page(tmp_path):
    run = write_run(tmp_path)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()
    assert not [path for path in run.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]


@pytest.mark.parametrize(
    ("name", "content"), [("evaluation.json", "{"), ("data.json", "[1, 2]"), ("config.json", "\x00")]
)
def test_a_broken_file_is_named_and_the_old_report_stays(tmp_path, name, content):
    report = write_report(write_run(tmp_path))
    before = report.read_bytes()
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        write_report(tmp_path)
    assert report.read_bytes() == before


def test_a_picture_needs_a_curve(tmp_path):
    run = write_run(tmp_path)
    first = (run / "metrics.jsonl").read_text().splitlines()[0]
    (run / "metrics.jsonl").write_text(first + "\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl holds no curve"):
        write_png(run, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_the_command(tmp_path):
    run = write_run(tmp_path / "run")
    command = [sys.executable, "-m", "bert_jax.report", f"--workdir={run}"]
    done = subprocess.run([*command, f"--png={tmp_path / 'c.png'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(run / "report.html"), str(tmp_path / "c.png")]
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    failed = subprocess.run([*command[:-1], f"--workdir={tmp_path / 'nowhere'}"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr == f"error: {tmp_path / 'nowhere'} is no folder; give the work folder of a run as --workdir\n"


def test_the_page_names_fonts_for_chinese_japanese_and_korean(tmp_path):
    text = write_report(write_run(tmp_path, "東京 한국 北京")).read_text(encoding="utf-8")
    (body,) = re.findall(r"\n  font: 1rem/1.6 ([^;]*);", text)
    fonts = [name.strip().strip('"') for name in body.split(",")]
    assert fonts[-1] == "sans-serif"
    for system in ({"PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"}, {"Noto Sans CJK SC"}):
        assert system <= set(fonts)
    assert {"Microsoft YaHei", "Yu Gothic", "Malgun Gothic"} <= set(fonts)


@pytest.mark.parametrize("name", [*SECTIONS, "summary.json"])
def test_a_file_of_another_shape_is_one_line(tmp_path: Path, name: str) -> None:
    """Or it is shown, where that can be."""
    folder, chance = write_run(tmp_path / "run", steps=20), random.Random(name)
    whole = (folder / name).read_text()
    lines = whole.splitlines() if name.endswith(".jsonl") else [whole]
    refused = 0
    for _ in range(8):
        number = chance.randrange(len(lines))
        spoilt = hostile.dumps(hostile.spoil(json.loads(lines[number]), chance)).decode()
        (folder / name).write_text("\n".join([*lines[:number], spoilt, *lines[number + 1 :]]))
        try:
            write_report(folder)
        except (ConfigError, DataError) as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017
            assert str(folder) in str(error)  # noqa: PT017
    assert refused

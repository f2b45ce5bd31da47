"""The whole command as a user runs it, on a small text of its own: each stage's result, running it again, bad input."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import runs

from bert_jax import pretrain as pretraining
from configuration import flags as config_flags
from configuration.variants import ConfigError, use
from data_pipeline.tokenizers import trained_size

ROOT = Path(__file__).parents[2]
SMALL = {
    "data.sources.0": "text_files",
    "data.tokenizer.vocab_size": "120",
    "data.held_out": "0.2",
    "data.workers": "1",
    "model.vocab_size": "120",
    "model.width": "32",
    "model.mlp_width": "64",
    "model.init": "normal",
    "model.dtype": "float32",  # to compare with PyTorch
    "phases.0.steps": "6",
    "phases.0.length": "32",
    "evaluation.single_mask_rows": "2",
    "evaluation.max_rows": "16",
    "checkpoints.every_steps": "2",
    "log_every": "1",
    "examples": '["the [MASK] sees a river ."]',
}


def write_text(path: Path, documents: int = 60) -> None:
    """Documents of a small grammar over made-up words, a blank line between two."""
    draw = random.Random(5)
    words = ["".join(draw.choices(["ka", "lo", "mi", "ten", "sur", "ba"], k=draw.randint(1, 4))) for _ in range(200)]
    texts = []
    for _ in range(documents):
        triples = (draw.choices(words, k=3) for _ in range(12))
        texts.append(" ".join(f"The {a} {b} a {c}." for a, b, c in triples))
    path.write_text("\n\n".join(texts) + "\n")


def pretrain(workdir: Path, text: Path, without: tuple[str, ...] = (), **changes: str) -> subprocess.CompletedProcess:
    fields = {name: value for name, value in SMALL.items() if name not in without}
    fields |= {"data.sources.0.paths": str(text)} | changes
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    command = [sys.executable, "-m", "bert_jax.pretrain", f"--config={ROOT}/configs/demo.py", f"--workdir={workdir}"]
    return subprocess.run(
        [*command, *flags], cwd=ROOT, capture_output=True, text=True, env=runs.environment(), check=False
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("pretrain")
    write_text(folder / "text.txt")
    done = pretrain(folder / "run", folder / "text.txt")
    assert done.returncode == 0, done.stderr
    return folder / "run", folder / "text.txt", done


def test_the_summary_has_its_figures(run) -> None:
    workdir, _, done = run
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["gain_over_unigram"] == pytest.approx(summary["unigram_loss"] - summary["eval_loss"])
    assert 0 < summary["train_seconds"] < summary["total_seconds"]
    assert summary["tokens_per_second"] > 0
    assert summary["parameters"] == sum(x.size for x in exported(workdir).values())
    assert "Next:" in done.stdout


def exported(workdir: Path) -> dict[str, np.ndarray]:
    """The exported weights, none of which repeats another."""
    from safetensors.numpy import load_file

    return load_file(workdir / "huggingface" / "model.safetensors")


def test_every_step_is_logged_once(run) -> None:
    lines = [json.loads(line) for line in (run[0] / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_the_report_is_one_page_with_the_examples(run) -> None:
    page = (run[0] / "report.html").read_text()
    assert "the [MASK] sees a river ." in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "src=" not in page


@pytest.mark.torch
def test_transformers_opens_the_export_with_equal_ids_and_logits(run) -> None:
    import torch
    import transformers

    import bert_jax

    workdir = run[0]
    model = transformers.AutoModelForMaskedLM.from_pretrained(workdir / "huggingface")
    tokenizer = transformers.AutoTokenizer.from_pretrained(workdir / "huggingface")
    encoder = bert_jax.load(workdir)
    text = "The fox  sees a [MASK] , ünd naïve 猫."
    ids = [encoder.tokenizer.cls_id, *encoder.tokenizer.encode(text), encoder.tokenizer.sep_id]
    assert tokenizer(text)["input_ids"] == ids
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits.numpy()
    np.testing.assert_allclose(np.asarray(encoder(np.array([ids]))["logits"]), theirs, atol=1e-4)


def test_running_it_again_trains_nothing_and_changes_nothing(run) -> None:
    workdir, text, _ = run
    before = exported(workdir)
    again = pretrain(workdir, text)
    assert again.returncode == 0, again.stderr
    assert "the run is finished: its newest checkpoint is of step 6, the last of config.phases" in again.stderr
    assert "going on" not in again.stderr
    after = exported(workdir)
    assert all((after[name] == before[name]).all() for name in before)


def test_what_no_other_stage_needs_does_not_cost_the_report(run, tmp_path) -> None:
    """An export into a folder that holds something else, and an example without a mask."""
    workdir, text, _ = run
    again = tmp_path / "run"
    shutil.copytree(workdir, again)
    (again / "huggingface" / "mine.txt").write_text("not of an export")
    (again / "report.html").unlink()
    examples = '["no mask here", "the [MASK] sees a river ."]'
    failed = pretrain(again, text, **{"examples": examples})
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: --output=")
    assert "this failed, the rest goes on: --text='no mask here' has no [MASK] to fill in" in failed.stderr
    assert "the [MASK] sees a river ." in (again / "report.html").read_text()
    assert "Next:" not in failed.stdout
    (again / "huggingface" / "mine.txt").unlink()
    assert pretrain(again, text).returncode == 0


def test_another_configuration_is_refused_and_nothing_is_touched(run) -> None:
    workdir, text, _ = run
    files = {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}
    refused = pretrain(workdir, text, **{"optimizer.b2": "0.97"})
    assert refused.returncode == 1
    assert "→ 0.97; set that back" in refused.stderr
    assert files == {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective.mask_rate": "2"}, "config.objective.mask_rate is 2"),
        ({"objective.masking": "token"}, "bert_jax.objectives.masking has no variant 'token'"),
        ({"objective.masking": "whole_words", "objective.masking.longest": "x"}, "longest"),
        (
            {"objective.replacement": "mask", "objective.replacement.masked": "1.5"},
            "config.objective.replacement.masked is 1.5",
        ),
        ({"data.rows.stride": "3"}, "data_pipeline.rows.best_fit has no option 'stride'"),
        ({"data.rows": "sentence_pair", "data.rows.label": "nap"}, "label='nap'"),
        ({"evaluators": '[{"name": "masked", "options": {}}]'}, "bert_jax.evaluators has no variant 'masked'"),
        ({"hooks": '[{"name": "no_such_hook", "options": {}}]'}, "bert_jax.training.hooks has no variant"),
        ({"model.vocab_size": "130"}, "set --config.model.vocab_size=8000"),
        ({"data.tokenizer": "wordpiece"}, "set --config.model.vocab_size=30522"),
        ({"data.tokenizer.size": "30"}, "data_pipeline.tokenizers.sentencepiece has no option 'size'"),
    ],
)
def test_what_needs_no_store_is_checked_before_text_is_prepared(tmp_path, monkeypatch, changes, message) -> None:
    def prepares(*args: object, **kwargs: object) -> None:
        raise AssertionError("the text is prepared")

    monkeypatch.setattr("data_pipeline.prepare.open_sources", prepares)
    config = config_flags.override(config_flags.read(f"{ROOT}/configs/demo.py"), changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        pretraining.pretrain(config, tmp_path / "run", 0.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "size"), [({"vocab_size": 77}, 77), ({"vocab": "a.txt"}, None), ({}, 30522)])
def test_the_size_of_a_tokenizer_that_is_to_be_trained(options, size) -> None:
    assert trained_size(use("wordpiece", **options)) == size
    assert trained_size(use("existing", folder="a")) is None


def slow(*values: object):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("content", "changes", "message"),  # a field that cannot be is bad usage, exit code 2
    [
        (b"", {}, "text.txt"),
        (b"\xff\xfe\x00binary\x00\x01", {}, "text.txt"),
        (b"good text\n\nbad \xe9 text\n", {}, "text.txt"),
        (None, {"phases.0.length": "7"}, "config.phases.length is 7; it must be at least 8 tokens"),
        (None, {"phases.0.batch_size": "100000"}, "100000"),
        (None, {"data.tokenizer.vocab_size": "9000", "model.vocab_size": "9000"}, "vocab_size"),
        slow(None, {"model.vocab_size": "130"}, "set --config.model.vocab_size=120"),
        slow(None, {"model.positions": "relative"}, "bert_jax.modeling.positions has no variant 'relative'"),
        slow(
            None,
            {"optimizer.beta1": "0.9"},
            "bert_jax.training.optimizers.adamw has no option 'beta1'; did you mean 'b1'?",
        ),
        slow(None, {"objective.mask_rate": "2"}, "config.objective.mask_rate is 2"),
        (None, {"modle.layers": "3"}, "there is no field 'modle'; did you mean 'model'?"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, content: bytes | None, changes: dict[str, str], message: str
) -> None:
    text = tmp_path / "text.txt"
    if content is None:
        write_text(text)
    else:
        text.write_bytes(content)
    refused = pretrain(tmp_path / "run", text, **changes)
    errors = [line for line in refused.stderr.splitlines() if "error" in line.lower()]
    assert refused.returncode == (2 if message.startswith(("config.phases", "there is no field")) else 1)
    assert len(errors) == 1, refused.stderr
    assert message in errors[0]
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "run" / "checkpoints").exists() or not any((tmp_path / "run" / "checkpoints").iterdir())

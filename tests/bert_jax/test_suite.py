"""Suites: the table of encoders and baselines, going on after a stop, comparisons, and mistakes."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from test_finetune import MODEL, PIECES, files  # noqa: F401

from bert_jax import suite
from bert_jax.config import Suite
from bert_jax.formats import huggingface
from bert_jax.modeling import bert, heads
from bert_jax.tasks import load_task
from configuration import flags as config_flags
from configuration.variants import ConfigError, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record

TASK = """
from bert_jax.config import FineTuning, use
source = use("json_lines", train="{folder}/train.jsonl", dev="{folder}/dev.jsonl", test="{folder}/test.jsonl")
config = FineTuning("{name}", use({task}), source, length=64, batch_size=16, epochs=2, learning_rate=3e-3)
"""
SUITE = """
from bert_jax.config import Member, Suite
config = Suite("small", (Member("kind.py", {{"epochs": "{epochs}"}}), Member("tags.py")))
"""


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory):  # noqa: F811
    """A suite's file and those of its tasks, and another encoder."""
    folder = tmp_path_factory.mktemp("suite")
    for name, task in (("kind", '"classification"'), ("tags", '"tagging"')):
        (folder / f"{name}.py").write_text(TASK.format(folder=files, name=name, task=task))
    (folder / "suite.py").write_text(SUITE.format(epochs=1))
    other = folder / "other"
    other.mkdir()
    huggingface.write(MODEL, jax.device_get(bert.init(MODEL, jax.random.key(5), heads.parts(MODEL, "pooler"))), other)
    (other / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


def read(folder, overrides=None, only=()):
    config: Suite = config_flags.read(str(folder / "suite.py"), ("tasks",), "Suite")
    return config, suite.read_tasks(config, folder, overrides or {}, only)


def test_a_table_goes_on_where_it_stopped(files, folder, tmp_path) -> None:  # noqa: F811
    config, tasks = read(folder, only=["kind"])
    config = dataclasses.replace(config, untrained=False)
    encoders = {"one": str(files / "encoder"), "other": str(folder / "other")}
    table = suite.run(config, tasks, encoders, tmp_path, seeds=2)
    kind = table["tasks"]["kind"]
    assert list(kind["systems"]) == ["majority", "tfidf", "one", "other"]
    assert (kind["metric"], kind["split"], kind["examples"]) == ("accuracy", "test", 40)
    one = kind["systems"]["one"]
    assert one["seeds"] == [
        json.loads((tmp_path / f"one/kind/seed-{seed}/evaluation.json").read_text())["test_accuracy"] for seed in (0, 1)
    ]
    assert one["min"] <= one["median"] <= one["max"]
    assert kind["systems"]["tfidf"]["median"] > 0.9 > kind["systems"]["majority"]["median"]
    for each in kind["comparisons"]:
        inside = each["low"] <= 0 <= each["high"]
        assert (each["verdict"] == "within noise") == inside
        means = [np.mean(kind["systems"][each[name]]["seeds"]) for name in ("first", "second")]
        assert each["difference"] == pytest.approx(means[1] - means[0])
    assert "kind: accuracy on test, 40 examples" in (tmp_path / suite.TEXT).read_text()
    before = [(tmp_path / name).read_bytes() for name in (suite.TABLE, suite.TEXT)]
    (tmp_path / suite.TABLE).unlink()
    (tmp_path / "other/kind/scores.json").unlink()
    shutil.rmtree(tmp_path / "other/kind/seed-1")
    shutil.rmtree(tmp_path / "tfidf")
    suite.run(config, tasks, encoders, tmp_path, seeds=2)
    assert [(tmp_path / name).read_bytes() for name in (suite.TABLE, suite.TEXT)] == before


def test_the_untrained_encoder_is_another(files, folder, tmp_path) -> None:  # noqa: F811
    config, tasks = read(folder, only=["tags"])
    table = suite.run(config, tasks, {"one": str(files / "encoder")}, tmp_path, seeds=1)
    assert list(table["tasks"]["tags"]["systems"]) == ["frequent_tag", "one.untrained", "one"]
    logs = [(tmp_path / name / "tags/metrics.jsonl").read_text().split("\n") for name in ("one", "one.untrained")]
    losses = [json.loads(lines[0])["loss"] for lines in logs]
    assert losses[0] != losses[1]


def test_encoders_are_compared_with_each_other_and_with_baselines() -> None:
    found = list(suite.pairs(["tfidf", "one.untrained", "one", "other.untrained", "other"], ["one", "other"]))
    with_one, with_other = [("tfidf", "one"), ("one.untrained", "one")], [("tfidf", "other"), ("one", "other")]
    assert found == [*with_one, *with_other, ("other.untrained", "other")]
    row = {"systems": {"one": {"median": 1.0}, "tfidf": {"median": 0.5}}}
    assert suite.means({"a": row, "b": {"systems": {"one": {"median": 0.0}}}}) == {"one": 0.5}


def test_differences_within_noise_are_called_so() -> None:
    scores = np.random.default_rng(0).random(50)
    task = load_task(use("classification"))
    each = {"a": scores, "b": scores + 0.001 * np.random.default_rng(1).normal(size=50), "c": scores + 0.1}
    found = suite.compare("a", "b", each, task)
    assert found["verdict"] == "within noise"
    assert suite.compared(found).startswith("b and a differ within noise: accuracy ")
    assert suite.compare("a", "c", each, task)["verdict"] == "better"
    assert suite.compare("c", "a", each, task)["verdict"] == "worse"


def test_correlations_are_compared_as_such() -> None:
    """Predictions on another scale are no worse where the metric does not see it; several seeds count as their mean."""
    rng, task = np.random.default_rng(0), load_task(use("regression", metric="pearson"))
    records = [Record({"text": "a", "label": x}, "") for x in rng.normal(size=300)]
    targets = np.array([record.values["label"] for record in records])
    noisy = lambda noise, scale: scale * (targets + noise * rng.normal(size=300))
    terms = lambda *runs: np.stack([task.each([{"value": x} for x in run], records) for run in runs])
    first, second = [noisy(1.0, 1.0), noisy(1.1, 1.0)], [noisy(0.4, 9.0)]
    found = suite.compare("first", "second", {"first": terms(*first), "second": terms(*second)}, task)
    wanted = [np.mean([np.corrcoef(targets, run)[0, 1] for run in runs]) for runs in (first, second)]
    assert found["difference"] == pytest.approx(wanted[1] - wanted[0])
    assert (found["score"], found["verdict"]) == ("pearson", "better")


def test_overrides_are_for_every_task_or_for_one(folder) -> None:
    _, tasks = read(folder, {"epochs": "3", "tags.epochs": "5", "kind.source.train": "x"})
    assert [task.epochs for task in tasks.values()] == [3, 5]
    assert [str(task.source.options["train"]) == "x" for task in tasks.values()] == [True, False]


def test_mistakes_are_one_clear_line(files, folder, tmp_path) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match="--tasks=knid: the suite small has no such task; did you mean 'kind'"):
        read(folder, only=["knid"])
    with pytest.raises(ConfigError, match="there is no field 'knid'"):
        read(folder, {"knid.epochs": "1"})
    with pytest.raises(ConfigError, match="give --init_from=, or several with --compare=A,B"):
        suite.name_encoders([])
    with pytest.raises(ConfigError, match="names an encoder twice"):
        suite.name_encoders(["a/b", "a/b"])
    assert suite.name_encoders(["runs/a", "/x/b"]) == {"runs-a": "runs/a", "x-b": "/x/b"}
    config, tasks = read(folder, {"tags.source.test": "none.jsonl"})
    with pytest.raises(DataError, match=r"task tags: .*none.jsonl"):
        suite.run(config, tasks, {"one": str(files / "encoder")}, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_suite_ends_with_the_same_table(files, folder, tmp_path) -> None:  # noqa: F811
    command = lambda name: [
        *[sys.executable, "-m", "bert_jax.suite", f"--config={folder / 'suite.py'}", f"--workdir={tmp_path / name}"],
        *[f"--compare={files / 'encoder'},{folder / 'other'}", "--seeds=2", "--tasks=kind"],
    ]
    environment = os.environ | {"XLA_FLAGS": ""}
    subprocess.run(command("alone"), env=environment, check=True, capture_output=True)
    for _ in range(3):
        process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.DEVNULL)
        time.sleep(15)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command("killed"), env=environment, check=True, capture_output=True)
    for name in (suite.TABLE, suite.TEXT):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()

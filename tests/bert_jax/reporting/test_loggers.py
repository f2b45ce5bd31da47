"""Log targets by name: a missing package is said before training; the services' own packages, if installed."""

import importlib.util

import pytest

from bert_jax.reporting import loggers
from bert_jax.reporting.metrics import MetricsLog, read_metrics
from configuration.variants import ConfigError, use

SERVICES = ("wandb", "mlflow")
NAMED = {"loss": 5.25, "learning_rate": 1e-3}


@pytest.mark.parametrize("name", SERVICES)
def test_a_missing_package_is_one_clear_line(name):
    if importlib.util.find_spec(name):
        pytest.skip(f"{name} is installed")
    message = rf"^config.loggers has {name}, but its package is not installed: pip install {name}$"
    with pytest.raises(ConfigError, match=message):
        loggers.check((use("jsonl"), use(name)))


def test_wrong_lists_are_named():
    with pytest.raises(ConfigError, match=r"^config.loggers is tensorboard: add jsonl, which the report and"):
        loggers.check((use("tensorboard"),))
    with pytest.raises(ConfigError, match=r"has no variant 'tensorbord'; did you mean 'tensorboard'"):
        loggers.check((use("jsonl"), use("tensorbord")))


def test_only_what_is_listed_is_written(tmp_path):
    with MetricsLog(tmp_path, 0, 10, loggers=(use("jsonl"),)) as log:
        log(1, NAMED)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def log_twice(folder, logger):
    """Steps 1 to 3, then again from step 2 on, as a resumed run does."""
    for start, stop in ((0, 3), (2, 4)):
        with MetricsLog(folder, start, 4, loggers=(use("jsonl"), logger), about={"name": "tried", "seed": 3}) as log:
            for step in range(start + 1, stop + 1):
                log(step, NAMED | {"loss": 1 / step})
    assert [record["step"] for record in read_metrics(folder / "metrics.jsonl")] == [1, 2, 3, 4]


def test_mlflow_has_the_steps_of_a_resumed_run_in_one_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{tmp_path / 'mlruns'}"
    log_twice(tmp_path, use("mlflow", uri=uri))
    client = mlflow.MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name("bert_jax").experiment_id])
    assert {(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")} == {
        (step, 1 / step) for step in (1, 2, 3, 4)
    }
    assert run.data.params["seed"] == "3"
    assert run.info.status == "FINISHED"


def test_wandb_writes_offline_runs_of_one_id(tmp_path):
    pytest.importorskip("wandb")
    log_twice(tmp_path, use("wandb", mode="offline"))
    number = (tmp_path / "wandb.id").read_text().strip()
    written = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert written
    assert {path.stem for path in written} == {f"run-{number}"}

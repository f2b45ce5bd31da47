"""MLflow; needs the package mlflow, or mlflow-skinny for a server elsewhere.

A resumed run keeps its id; MLflow then has the repeated steps twice.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from bert_jax.reporting.loggers import Logger, Run, require_package, run_id


def check() -> None:
    """Raises ConfigError if the package is missing."""
    require_package("mlflow")


def build(run: Run, *, experiment: str = "bert_jax", uri: str = "") -> "Mlflow":
    """The run at MLflow.

    Args:
      experiment: made if it is not there.
      uri: of the tracking server or store; if not given, what MLFLOW_TRACKING_URI or MLflow itself says.
    """
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri or None)
    found = client.get_experiment_by_name(experiment)
    number = found.experiment_id if found else client.create_experiment(experiment)

    def make() -> str:
        made = client.create_run(number, run_name=run.config.get("name")).info.run_id
        for name, value in run.config.items():
            client.log_param(made, name, json.dumps(value))
        return made

    return Mlflow(client, run_id(run, "mlflow", make))


class Mlflow(Logger):
    """A run of MLflow; each step is one request."""

    def __init__(self, client: Any, number: str) -> None:
        self._client, self._number = client, number

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._number, metrics=metrics)

    def close(self) -> None:
        self._client.set_terminated(self._number)

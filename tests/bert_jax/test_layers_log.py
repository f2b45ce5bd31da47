"""Statistics of the layers: from the update, through layers.jsonl, to the report."""

import json

import jax
import numpy as np
import pytest
from test_train_step import PHASE, VOCABULARY, make_batch, make_config

from bert_jax import report
from bert_jax.config import Guard
from bert_jax.objectives import mlm
from bert_jax.reporting.layers_log import FILE, LayersLog
from bert_jax.reporting.metrics import read_metrics
from bert_jax.runtime import sharding
from bert_jax.training.state import init_state, statistics_of
from bert_jax.training.step import jit_train_step
from configuration.variants import ConfigError, use


def test_the_update_tells_and_the_report_draws_them(tmp_path):
    config = make_config(statistics_every=1, guard=Guard(on=True), transforms=(use("average", decay=0.9),))
    mesh = sharding.make_mesh(config.mesh, jax.devices()[:1])
    update = jit_train_step(config, PHASE, mlm.build(config.model, VOCABULARY), mesh, statistics=True)
    state, norms = init_state(config, mesh), []
    log = LayersLog(tmp_path, 0)
    for step in (1, 2, 3):
        kernel = jax.device_get(state["params"]["layers"]["mlp"]["up"]["kernel"])
        norms.append(np.sqrt(np.square(kernel, dtype=np.float64).sum((1, 2))))
        state, metrics = update(state, sharding.put_batch(make_batch(step), mesh))
        log(step, metrics.pop("statistics"))
    log.write()
    records = read_metrics(tmp_path / FILE)
    assert [record["step"] for record in records] == [1, 2, 3]
    for record, wanted in zip(records, norms, strict=True):
        of = {name: record[name]["layers.mlp.up.kernel"] for name in ("parameter_norm", "update_norm", "trust_ratio")}
        np.testing.assert_allclose(of["parameter_norm"], wanted, rtol=1e-5)
        ratio = np.divide(of["parameter_norm"], of["update_norm"])
        np.testing.assert_allclose(of["trust_ratio"], ratio, rtol=1e-4)
        assert isinstance(record["trust_ratio"]["mlm_head.bias"], float)

    page = report.page(report.read_run(tmp_path), tmp_path)
    for name in ("Trust ratio", "Update norm", "Parameter norm", "attention output", "word embedding"):
        assert name in page
    assert page.count("<svg") == 3

    LayersLog(tmp_path, 2)  # a run that goes on from step 2
    assert [record["step"] for record in read_metrics(tmp_path / FILE)] == [1, 2]


def test_what_is_not_finite_is_null(tmp_path):
    log = LayersLog(tmp_path, 0)
    log(1, {"trust_ratio": {"layers": np.array([1.0, np.inf]), "bias": np.float32(np.nan)}})
    log.write()
    assert json.loads((tmp_path / FILE).read_text()) == {
        "step": 1,
        "trust_ratio": {"layers": [1.0, None], "bias": None},
    }


def test_an_optimizer_without_statistics_is_named():
    with pytest.raises(ConfigError, match=r"config.statistics_every is 5, but the optimizer adamw has no statistics"):
        statistics_of(make_config(statistics_every=5, optimizer=use("adamw")))

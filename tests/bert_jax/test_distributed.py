"""Several processes on one machine: they find each other, train as one, stop together, and end when one is lost."""

import os
import re
import signal
import time

import numpy as np
import pytest
import runs

from bert_jax import train
from bert_jax.cli import STOPPED
from bert_jax.config import Phase
from bert_jax.distributed import LOST, Place, find_place
from bert_jax.variants import ConfigError

SLURM = {"SLURM_NTASKS": "16", "SLURM_PROCID": "3", "SLURM_STEP_NODELIST": "node[001-002]"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "2"}


@pytest.mark.parametrize(
    ("flags", "environment", "place"),
    [
        ((None, None, None), {}, None),
        (("host:8476", 2, 1), {}, Place("host:8476", 2, 1)),
        (("host:8476", 1, 0), {}, None),
        ((None, None, None), SLURM, Place(None, None, None)),
        ((None, None, None), OPEN_MPI, Place(None, None, None)),
        (("host:8476", None, None), SLURM, Place("host:8476", 16, 3)),
        (("host:8476", None, None), OPEN_MPI, Place("host:8476", 4, 2)),
        ((None, None, None), SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        # A batch script has the variables too, but is no process of the run.
        ((None, None, None), {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, None),
    ],
)
def test_place_by_flags_or_launcher(flags, environment, place) -> None:
    assert find_place(*flags, environment) == place


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((None, 2, None), "--process_count is 2 without --coordinator"),
        ((None, None, 1), "--process_index is 1 without --coordinator"),
        (("host:8476", None, 1), "without --process_count"),
        (("host:8476", 2, None), "without --process_index"),
        (("host", 2, 1), "it must be HOST:PORT"),
        (("host:8476", 2, 2), "--process_index is 2, but --process_count is 2"),
    ],
)
def test_flags_that_do_not_fit_together(flags, message) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_place(*flags, {})


def test_a_host_reads_only_its_rows(monkeypatch) -> None:
    class Examples:
        rows, length = 1000, 8
        asked: list[tuple[int, int]] = []  # noqa: RUF012

        def batch(self, first: int, size: int) -> dict[str, np.ndarray]:
            self.asked.append((first, size))
            return {"tokens": np.zeros((size, self.length), np.int32)}

    monkeypatch.setattr(train.jax, "process_index", lambda: 1)
    monkeypatch.setattr(train.jax, "process_count", lambda: 4)
    monkeypatch.setattr(train.sharding, "put_batch", lambda batch, mesh: batch)
    phase = Phase(steps=5, length=8, batch_size=32, learning_rate=1e-3)
    assert len(list(train.device_batches(Examples(), phase, 2, mesh=None))) == 3
    rows = {row for first, size in Examples.asked for row in range(first, first + size)}
    assert rows
    assert {row % 32 // 8 for row in rows} == {1}  # the second quarter of each batch, and nothing else


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return runs.make_recipe(tmp_path_factory.mktemp("recipe"))


def test_two_processes_train_as_one_stop_together_and_one_goes_on(recipe, tmp_path) -> None:
    alone = runs.start(recipe, tmp_path / "alone")
    pair = runs.start_all(recipe, tmp_path / "pair")
    runs.wait_for_step(pair[0], tmp_path / "pair", 12)
    pair[1].send_signal(signal.SIGTERM)  # to one of them only
    ended = [runs.finish(process) for process in pair]
    assert [code for code, _ in ended] == [STOPPED, STOPPED]
    stopped = [re.search(rf"stopped at step (\d+) of {runs.STEPS}", said)[1] for _, said in ended]
    assert stopped[0] == stopped[1]
    assert f"step 1/{runs.STEPS}" in ended[0][1]
    assert f"step 1/{runs.STEPS}" not in ended[1][1]  # one process logs

    code, said = runs.run(recipe, tmp_path / "pair")  # another number of hosts goes on
    assert code == 0
    assert f"going on from the checkpoint of step {stopped[0]}" in said
    assert runs.finish(alone)[0] == 0
    one, other = runs.losses(tmp_path / "alone"), runs.losses(tmp_path / "pair")
    assert list(one) == list(other) == list(range(1, runs.STEPS + 1))
    np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-5)


@pytest.mark.parametrize("lost", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_when_one_process_dies_the_other_ends(recipe, tmp_path, lost) -> None:
    pair = runs.start_all(recipe, tmp_path, "--config.phases.0.steps=1000000")
    runs.wait_for_step(pair[0], tmp_path, 3)
    os.kill(pair[lost].pid, signal.SIGKILL)
    start = time.monotonic()
    code, said = runs.finish(pair[1 - lost], seconds=60)
    assert time.monotonic() - start < 60
    assert code in (LOST, -signal.SIGABRT)  # JAX's own watch aborts
    assert re.search(rf"process {1 - lost} of 2 has lost another one|Terminating process because", said), said
    runs.finish(pair[lost])


@pytest.mark.slow
def test_when_one_process_hangs_the_other_ends(recipe, tmp_path) -> None:
    pair = runs.start_all(recipe, tmp_path, "--config.phases.0.steps=1000000")
    runs.wait_for_step(pair[0], tmp_path, 3)
    pair[1].send_signal(signal.SIGSTOP)
    try:
        code, said = runs.finish(pair[0], seconds=60)
    finally:
        pair[1].kill()
        runs.finish(pair[1])
    assert code in (LOST, -signal.SIGABRT)
    assert re.search(r"process 0 of 2 has lost another one|Terminating process because", said), said

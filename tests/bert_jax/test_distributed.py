"""How a process finds its place among several, and which rows it reads; `test_interrupted.py` runs them."""

import re

import numpy as np
import pytest

from bert_jax.config import Phase
from bert_jax.runtime.distributed import Place, find_place
from bert_jax.training import setup
from configuration.variants import ConfigError

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

    monkeypatch.setattr(setup.jax, "process_index", lambda: 1)
    monkeypatch.setattr(setup.jax, "process_count", lambda: 4)
    monkeypatch.setattr(setup.sharding, "put_batch", lambda batch, mesh: batch)
    phase = Phase(steps=5, length=8, batch_size=32, learning_rate=1e-3)
    assert len(list(setup.device_batches(Examples(), phase, 2, mesh=None))) == 3
    rows = {row for first, size in Examples.asked for row in range(first, first + size)}
    assert rows
    assert {row % 32 // 8 for row in rows} == {1}  # the second quarter of each batch, and nothing else

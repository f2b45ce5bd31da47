"""BERT-flow: its density is that of a NumPy form in float64, it can be undone, and fitting makes vectors likelier."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.embedding import flow as flows
from configuration.variants import ConfigError
from data_pipeline.errors import DataError

ROOT = Path(__file__).parents[3]
N, D, H, S = 400, 7, 11, 3


def make_vectors(number: int = N, width: int = D) -> np.ndarray:
    """Bent: the square of the first number is in the second."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(number, width)) * np.linspace(0.1, 3, width)
    x[:, 1] += 5 * x[:, 0] ** 2
    return (x @ rng.normal(size=(width, width)) + 2).astype(np.float32)


def random_flow(width: int = D) -> flows.Flow:
    """Every array random."""
    rng, begun = np.random.default_rng(1), flows.begin(make_vectors(width=width), S, H, seed=0)
    noisy = lambda x: x if x.dtype == np.int32 else (x + rng.normal(0, 0.3, x.shape)).astype(np.float32)
    return flows.Flow(*map(noisy, begun))


def plain(flow: flows.Flow, x: np.ndarray) -> np.ndarray:
    """One vector through the steps, in float64."""
    flow = flows.Flow(*(a if a.dtype == np.int32 else a.astype(np.float64) for a in flow))
    x = x.astype(np.float64)
    for s in range(len(flow.shift)):
        scaled = [(x[i] + flow.shift[s, i]) * np.exp(flow.log_scale[s, i]) for i in range(len(x))]
        x = np.array([scaled[place] for place in flow.permutation[s]])
        half = len(x) // 2
        hidden = np.maximum(x[:half] @ flow.kernel_in[s] + flow.bias_in[s], 0)
        x[half:] += hidden @ flow.kernel_out[s] + flow.bias_out[s]
    return x


@pytest.mark.parametrize("width", [6, 7])
def test_log_likelihood_is_numpys_with_a_numerical_jacobian(width: int) -> None:
    flow, x = random_flow(width), make_vectors(width=width)[:5]
    z, _ = flows.forward(flow, x)
    found = flows.log_likelihood(flow, x)
    for i, one in enumerate(x):
        wanted = plain(flow, one)
        np.testing.assert_allclose(z[i], wanted, rtol=1e-4, atol=1e-4)
        small = 1e-6 * np.eye(width)
        ends = [(plain(flow, one + d), plain(flow, one - d)) for d in small]
        jacobian = np.array([(up - down) / 2e-6 for up, down in ends]).T
        density = -0.5 * (wanted @ wanted + width * np.log(2 * np.pi)) + np.linalg.slogdet(jacobian)[1]
        assert float(found[i]) == pytest.approx(density, rel=1e-4)


def test_it_can_be_undone() -> None:
    flow, x = random_flow(), make_vectors()
    z, _ = flows.forward(flow, x)
    np.testing.assert_allclose(flows.inverse(flow, z), x, atol=1e-5 * np.abs(x).max())


def test_it_begins_with_mean_zero_and_variance_one() -> None:
    z, _ = flows.forward(flows.begin(make_vectors(), S, H, seed=0), make_vectors())
    np.testing.assert_allclose(np.mean(z, 0), 0, atol=1e-4)
    np.testing.assert_allclose(np.std(z, 0), 1, atol=1e-4)


def test_fitting_makes_vectors_likelier_and_closer_to_normal() -> None:
    x = make_vectors(2000)
    flow, found = flows.fit(x, steps=6, hidden=32, epochs=40, learning_rate=3e-3)
    assert np.mean(found[-20:]) > np.mean(found[:5]) + 1
    correlation = lambda x: np.abs(np.corrcoef(x.T) - np.eye(D)).max()
    z = flows.apply(flow, x)
    assert correlation(z) < correlation(x) / 2
    again, _ = flows.fit(x, steps=6, hidden=32, epochs=40, learning_rate=3e-3)
    for a, b in zip(jax.tree.leaves(flow), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_command_fits_once_and_applies_to_others(tmp_path: Path) -> None:
    x = make_vectors()
    np.save(tmp_path / "documents.npy", x)
    np.save(tmp_path / "queries.npy", x[:9])
    np.save(tmp_path / "other.npy", x[:, :5])

    def run(name: str) -> subprocess.CompletedProcess:
        files = [f"--vectors={tmp_path / name}.npy", f"--flow={tmp_path / 'flow.npz'}"]
        command = [sys.executable, "-m", "bert_jax.flow", *files, f"--output={tmp_path / name}.flowed.npy"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)

    for name in ("documents", "queries"):
        done = run(name)
        assert done.returncode == 0, done.stderr
    found, of_queries = (np.load(tmp_path / f"{name}.flowed.npy") for name in ("documents", "queries"))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:9], of_queries, atol=1e-5)
    done = run("other")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the flow is for vectors of 7 numbers; these have 5" in done.stderr


def test_mistakes_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are 1 of 7"):
        flows.fit(make_vectors()[:1])
    with pytest.raises(ConfigError, match=r"config.steps is 0"):
        flows.fit(make_vectors(), steps=0)
    (tmp_path / "flow.npz").write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be read as a flow"):
        flows.read(tmp_path / "flow.npz")

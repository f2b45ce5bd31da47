"""Time to a loss beside PyTorch: rows, masks and losses are the same for all, and a stopped benchmark goes on."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from benchmarks.time_to_loss import compared, seconds_for
from benchmarks.timed import Asked, held_out
from configuration.variants import use
from data_pipeline.store import Store
from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
ASKED = Asked(
    system="ours",
    store="",
    seconds=1.0,
    learning_rate=1e-3,
    seed=0,
    layers=1,
    width=64,
    batch_size=4,
    length=32,
    mask_rate=0.3,
    points=2,
    eval_rows=8,
)
PEERS = ("bert", "modernbert", "modernbert global")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("store") / "store"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁w{i}" for i in range(96))]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    rng = np.random.default_rng(0)
    documents = [[rng.integers(5, 101, n).tolist() for n in rng.integers(1, 15, rng.integers(1, 9))] for _ in range(70)]
    write_store(
        folder,
        {"train": documents[:50], "held_out": documents[50:]},
        vocab_size=len(words),
        tokenizer=Tokenizer("sentencepiece", backend.to_str()),
    )
    return str(folder)


@pytest.fixture(scope="module")
def rows(store, tmp_path_factory):
    file = tmp_path_factory.mktemp("rows") / "held_out.npz"
    number = held_out.draw(store, ASKED.length, ASKED.eval_rows, file)
    read = held_out.read(file)
    assert number == len(read["tokens"]) == ASKED.eval_rows
    return read


def peer(name: str, store: str):
    import torch

    from benchmarks.timed.peers import Peer

    made = Peer(dataclasses.replace(ASKED, system=f"{name} float32"), store)
    torch.set_num_threads(1)  # beside other tests, two would wait for each other
    return made


def trainings(*ends: tuple[float, float | None]) -> dict[float, list[dict]]:
    """Trainings by budget, one each, which took these seconds and ended with these losses."""
    keys = ("seconds", "seconds_with_compile")
    return {seconds: [{**dict.fromkeys(keys, seconds), "loss": x, "mask_loss": x}] for seconds, x in ends}


def test_the_time_for_a_loss_is_interpolated_in_the_logarithm_of_time() -> None:
    ends = trainings((10.0, 6.0), (40.0, 5.0), (160.0, 4.0))
    for loss, seconds, bound in ((5.5, 20.0, ""), (4.0, 160.0, ""), (3.9, 160.0, "more than"), (6.5, 10.0, "at most")):
        assert seconds_for(loss, ends, "loss", "seconds") == (pytest.approx(seconds), bound)


def test_a_diverged_training_reaches_no_loss() -> None:
    assert seconds_for(5.0, trainings((10.0, None), (40.0, None)), "loss", "seconds") == (40.0, "more than")
    assert seconds_for(5.0, trainings((10.0, None), (40.0, 4.0)), "loss", "seconds") == (40.0, "")


def test_we_are_compared_with_the_peer_that_needs_least() -> None:
    found = {
        "ours": trainings((10.0, 5.0)),
        "bert": trainings((10.0, 7.0)),
        "modernbert": trainings((10.0, 6.0), (90.0, 4.0)),
    }
    found["bert"] |= trainings((90.0, 6.5))
    lines = compared(found)
    assert len(lines) == 4  # two losses, two clocks
    assert {line["best_peer"] for line in lines} == {"modernbert"}
    assert all(line["times"] == pytest.approx(3.0) and line["bound"] == "" for line in lines)
    assert lines[0]["peers"]["bert"] == {"times": 9.0, "bound": "more than"}


def test_our_loss_is_that_of_our_evaluator(store, rows) -> None:
    import jax

    from benchmarks.timed.ours import Ours
    from bert_jax.evaluators.masked_language import at_masks
    from bert_jax.objectives import mlm
    from bert_jax.training.setup import vocabulary_of

    ours = Ours(ASKED, store)
    ours.begin(3)
    ours.step()
    ours.wait()
    found = held_out.losses(ours, rows)
    config, opened = ours._config, Store.open(store)
    evaluation = dataclasses.replace(
        config.evaluation, length=ASKED.length, batch_size=ASKED.eval_rows, max_rows=ASKED.eval_rows
    )
    full = dataclasses.replace(config.data, rows=use("full_sentences"))  # as every system's held-out rows
    model = dataclasses.replace(config.model, dtype="float32")
    config = dataclasses.replace(config, evaluation=evaluation, model=model, data=full)
    figures = at_masks(config, opened, mlm.build(config.model, vocabulary_of(opened)))(
        jax.device_get(ours._state["params"])
    )
    assert found["loss"] == pytest.approx(figures["eval_loss"], rel=1e-5)
    assert found["mask_loss"] == pytest.approx(figures["mask_loss"], rel=1e-5)


@pytest.mark.torch
def test_the_peers_rows_are_all_documents_joined_and_cut(store) -> None:
    from benchmarks.timed.peers import full_rows

    opened = Store.open(store)
    flat: list[int] = []
    for shard in opened.split("train").shards:
        for first, end in zip(shard.document_offsets[:-1], shard.document_offsets[1:], strict=True):
            text = shard.tokens[shard.sentence_offsets[first] : shard.sentence_offsets[end]].tolist()
            flat += [opened.tokenizer.cls_id, *text, opened.tokenizer.sep_id]
    found = full_rows(opened, 37)
    assert found.shape == (len(flat) // 37, 37)
    assert found.flatten().tolist() == flat[: found.size]


@pytest.mark.torch
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_is_the_class_of_transformers_with_its_own_loss(name, store, rows) -> None:
    import torch

    system = peer(name, store)
    model = system._network.model.eval()
    shown, places, targets = system._masked(system._rows[:4].long())
    labels = torch.full_like(shown, -100).scatter(1, places, targets)
    assert places.shape == (4, 10)
    special = torch.tensor([system._tokenizer.cls_id, system._tokenizer.sep_id])
    assert not torch.isin(targets, special).any()
    torch.testing.assert_close(system._loss(shown, places, targets), model(shown, labels=labels).loss)
    tokens, mask = (torch.from_numpy(x).long() for x in (rows["tokens"], rows["segments"] > 0))
    with torch.no_grad():
        logits = model(tokens, attention_mask=mask).logits.numpy()
    theirs = np.take_along_axis(logits, rows["target_positions"][..., None], axis=1)
    np.testing.assert_allclose(system.logits(rows), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_learns_and_starts_anew_alike(name, store, rows) -> None:
    system = peer(name, store)
    ends = []
    for _ in range(2):
        system.begin(20)
        first = held_out.losses(system, rows)["loss"]
        for _ in range(20):
            system.step()
        ends.append((first, held_out.losses(system, rows)["loss"]))
    assert ends[0] == pytest.approx(ends[1])
    assert ends[0][1] < ends[0][0]


@pytest.mark.torch
def test_the_rate_of_a_peer_rises_stays_and_falls_to_the_end() -> None:
    from benchmarks.timed.peers import trapezoid

    rates = [trapezoid(step, 100) for step in range(101)]
    assert rates[0] == 0.1
    assert set(rates[9:61]) == {1.0}
    assert rates[60:] == pytest.approx(np.linspace(1, 0, 41))


def test_a_training_ends_with_the_command_that_was_killed(tmp_path) -> None:
    file, script = tmp_path / "process", tmp_path / "starts.py"
    script.write_text(
        "import os, pathlib, sys, time\n"
        "from benchmarks.kept import in_own_process\n"
        "def endless(file):\n"
        "    pathlib.Path(file).write_text(f'{os.getpid()} ')\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    in_own_process(endless, sys.argv[1])\n"
    )
    parent = subprocess.Popen([sys.executable, script, file], env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_until(lambda: file.exists() and file.read_text().endswith(" "))
    child = int(file.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not alive(child))


def wait_until(holds: Callable[[], bool]) -> None:
    """Fails after two minutes."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it is there, and not only waits for its parent to read how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command(store: str, folder: Path, *flags: str) -> subprocess.CompletedProcess:
    flags_of_one = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=1"
    return subprocess.run(
        [
            *(sys.executable, "benchmarks/time_to_loss.py", f"--store={store}", f"--folder={folder / 'kept'}"),
            *("--size=tiny", "--length=32", "--batch_size=4", "--eval_rows=8", "--points=2", "--seeds=0"),
            *("--budgets=0.3", f"--json={folder / 'figures.json'}", f"--png={folder / 'figures.png'}", *flags),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags_of_one},
        timeout=600,
    )


@pytest.mark.slow
@pytest.mark.torch
def test_all_systems_are_timed_and_no_training_is_done_twice(store, tmp_path) -> None:
    flags = ("--rates=1e-3,2e-3", "--peer_budgets=0.6")
    done = command(store, tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("── ") == 3 * 2 + 2  # two rates of each, and the budget of the peers alone
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {system: list(by) for system, by in figures["trainings"].items()} == {
        "ours": ["0.3"],
        "modernbert": ["0.3", "0.6"],
        "bert": ["0.3", "0.6"],
    }
    for by_budget in figures["trainings"].values():
        for run in (run for each in by_budget.values() for run in each):
            assert len(run["curve"]) == 2
            assert run["curve"][-1]["step"] == run["steps"]
            assert 0 < run["loss"] < 10
            assert 0 < run["seconds"] < run["seconds_with_compile"]
    assert len(figures["compared"]) == 2 * 2  # losses, clocks
    assert "the best peer" in done.stdout
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")

    (lost,) = (tmp_path / "kept").glob("bert-0.6s-*.json")
    lost.unlink()
    again = command(store, tmp_path, *flags)
    assert again.returncode == 0, again.stderr
    assert [line for line in again.stderr.splitlines() if line.startswith("──")] == [f"── {lost.stem}"]
    repeated = json.loads((tmp_path / "figures.json").read_text())
    assert repeated["trainings"]["ours"] == figures["trainings"]["ours"]


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    ("flag", "code", "line"),
    [
        ("--systems=ours,bert global", 2, "each must be a system and, after spaces, its ways: ours (float32), "),
        ("--budgets=60,soon", 2, "must be numbers above 0"),
        ("--config.optimizer=adamx", 1, "has no variant 'adamx'"),
        ("--batch_size=100000", 1, "fewer than a batch of 100000"),
    ],
)
def test_what_cannot_be_is_one_clear_line(flag, code, line, store, tmp_path) -> None:
    done = command(store, tmp_path, flag)
    assert done.returncode == code
    errors = [each for each in done.stderr.splitlines() if not each.startswith("──")]
    assert len(errors) == 1
    assert line in errors[0]

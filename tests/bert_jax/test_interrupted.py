"""Real processes that are killed, stopped, damaged and lost: none hangs, and each run ends as the one left alone."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import runs
from etils import epath
from test_checkpoint import flip

from bert_jax.checkpoints.manager import read_run, restore_params
from bert_jax.runtime.distributed import LOST
from configuration.cli import STOPPED


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return runs.make_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def alone(recipe) -> Path:
    """The work folder of the run that nothing interrupts."""
    workdir = recipe.parent / "alone"
    code, said = runs.run(recipe, workdir)
    assert code == 0, said
    return workdir


def checkpoints(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def test_two_processes_train_as_one_stop_together_and_one_goes_on(recipe, alone, tmp_path) -> None:
    pair = runs.start_all(recipe, tmp_path)
    runs.wait_for_step(pair[0], tmp_path, 12)
    pair[1].send_signal(signal.SIGTERM)  # to one of them only
    ended = [runs.finish(process) for process in pair]
    assert [code for code, _ in ended] == [STOPPED, STOPPED]
    stopped = [re.search(rf"stopped at step (\d+) of {runs.STEPS}", said)[1] for _, said in ended]
    assert stopped[0] == stopped[1]
    assert f"step 1/{runs.STEPS}" in ended[0][1]
    assert f"step 1/{runs.STEPS}" not in ended[1][1]  # one process logs

    code, said = runs.run(recipe, tmp_path)  # another number of hosts goes on
    assert code == 0
    assert f"going on from the checkpoint of step {stopped[0]}" in said
    one, other = runs.losses(alone), runs.losses(tmp_path)
    assert list(one) == list(other) == list(range(1, runs.STEPS + 1))
    np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-5)


@pytest.mark.slow
def test_two_processes_go_back_together(recipe, tmp_path) -> None:
    """Where gradient norms hardly above their average are outliers, a run goes back several times."""
    guard = {"on": "true", "factor": 1.02, "grace": 12, "roll_back_after": 1, "most_roll_backs": 30}
    flags = [f"--config.guard.{name}={value}" for name, value in guard.items()]
    pair = runs.start_all(recipe, tmp_path / "two", *flags)
    ended = [runs.finish(process) for process in pair]
    assert [code for code, _ in ended] == [0, 0], ended
    code, said = runs.run(recipe, tmp_path / "one", *flags)
    assert code == 0
    back = lambda said: re.findall(r"steps \d+ to \d+: .*; going back to step \d+ and leaving out the \d+ rows", said)
    assert len(back(said)) > 2
    assert back(ended[0][1]) == back(said)
    one, two = (runs.losses(tmp_path / name) for name in ("one", "two"))
    assert list(one) == list(two) == list(range(1, runs.STEPS + 1))
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)


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


def test_killed_damaged_and_stopped_it_ends_as_a_run_left_alone(recipe, alone, tmp_path) -> None:
    """kill -9, then a flipped byte in the newest checkpoint, then SIGTERM: the last bit is the same."""
    process = runs.start(recipe, tmp_path)
    runs.wait_for_step(process, tmp_path, 3 * runs.EVERY + 2)
    process.kill()
    runs.finish(process)

    steps = checkpoints(tmp_path)
    assert len(steps) > 1
    newest = tmp_path / "checkpoints" / str(steps[-1])
    flip(max((path for path in newest.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size))
    log = (tmp_path / "metrics.jsonl").stat().st_ino
    process = runs.start(recipe, tmp_path)
    while (tmp_path / "metrics.jsonl").stat().st_ino == log:  # what was logged after that checkpoint is dropped first
        assert process.poll() is None
        time.sleep(0.02)
    runs.wait_for_step(process, tmp_path, steps[-2] + 3)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    code, said = runs.finish(process)
    assert time.monotonic() - start < 30
    assert f"the checkpoint of step {steps[-1]} in" in said
    assert f"going on from the checkpoint of step {steps[-2]}" in said
    if code != 0:  # else it came to its end first
        assert code == STOPPED
        stopped = int(re.search(rf"stopped at step (\d+) of {runs.STEPS}", said)[1])
        assert (tmp_path / "checkpoints" / str(stopped)).exists()
        assert runs.run(recipe, tmp_path)[0] == 0

    assert runs.losses(tmp_path) == runs.losses(alone)
    ends = [read_run(epath.Path(folder / "checkpoints" / str(runs.STEPS))) for folder in (alone, tmp_path)]
    assert ends[0]["checksums"] == ends[1]["checksums"]  # parameters, moments and all
    one, other = (restore_params(folder)[1] for folder in (alone, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_and_the_last_whole_checkpoint_goes_on(recipe, alone, tmp_path) -> None:
    """A real one of 1.2 MB, where about three checkpoints find room; it needs the right to mount."""
    disk, often = tmp_path / "disk", "--config.checkpoints.every_steps=5"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", disk], check=False).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        code, said = runs.run(recipe, disk / "run", often)
        assert code == 1
        assert re.search(r"^error: .*(No space left|make room)", said, re.MULTILINE), said
        steps = checkpoints(disk / "run")
        assert steps
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        code, said = runs.run(recipe, disk / "run", often)
        assert code == 0
        assert f"going on from the checkpoint of step {steps[-1]}" in said
        assert "damaged" not in said
        assert runs.losses(disk / "run") == runs.losses(alone)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_second_run_on_a_work_folder_is_told_so(recipe, tmp_path) -> None:
    """And the first one's lock goes with it, however it dies."""
    first = runs.start(recipe, tmp_path, "--config.phases.0.steps=1000000")
    runs.wait_for_step(first, tmp_path, 3)
    code, said = runs.run(recipe, tmp_path, "--config.phases.0.steps=1000000")
    assert code == 1
    assert f"another process is training in {tmp_path}" in said
    first.kill()
    runs.finish(first)
    code, said = runs.run(recipe, tmp_path, "--accept_changes")
    assert code == 0, said


def test_processes_that_differ_are_told_before_anything_compiles(recipe, tmp_path) -> None:
    port = runs.free_port()
    place = lambda index: [f"--coordinator=127.0.0.1:{port}", "--process_count=2", f"--process_index={index}"]
    pair = [
        runs.start(
            recipe,
            tmp_path,
            *place(index),
            f"--config.seed={index}",
            f"--config.phases.0.learning_rate=1e-{3 + index}",
            *["--config.optimizer.weight_decay=0.3"][:index],  # an option that process 0 does not name at all
        )
        for index in (0, 1)
    ]
    for code, said in map(runs.finish, pair):
        assert code == 1
        names = ("optimizer.options.weight_decay", "phases.0.learning_rate", "seed")
        differ = ", ".join(f"config.{name} (processes 1)" for name in names)
        assert f"differ from process 0 in {differ}" in said
    assert not (tmp_path / "metrics.jsonl").exists()

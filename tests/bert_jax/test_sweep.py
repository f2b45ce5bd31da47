"""Sweeps: the space, the trials, ending bad ones, going on after kill -9; with a trainer that only pretends, and, as a
slow test, with real trainings."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import runs

from bert_jax.sweep import Sweep, describe
from bert_jax.sweeping import space, trial
from bert_jax.sweeping.space import Choice, Range
from configuration import locks
from configuration.flags import override, read, to_dict
from configuration.variants import ConfigError

STEPS = 20
# Writes the log of a training whose loss is least at a learning rate of 0.01, and goes on with one that is there.
TRAINER = f"""
import json, math, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
path, rate = Path(sys.argv[1]) / "metrics.jsonl", float(sys.argv[2])
done = len(path.read_text().splitlines()) if path.exists() else 0
if rate > 1:
    sys.exit("error: the learning rate is too high")
for step in range(done + 1, {STEPS} + 1):
    time.sleep(0.03)
    with path.open("a") as file:
        loss = abs(math.log10(rate / 0.01)) + 1 / step
        file.write(json.dumps({{"step": step, "loss": loss}}) + "\\n")
"""
# The same sweep in a process of its own, to be killed.
DRIVER = """
import sys
sys.path[:0] = sys.argv[1:3]
from test_sweep import sweep
sweep(*sys.argv[3:5]).run()
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = runs.make_recipe(tmp_path_factory.mktemp("recipe"))
    (path.parent / "trainer.py").write_text(TRAINER)
    return path


def sweep(recipe, workdir, values="1e-3|3e-3|1e-2|1e-1", **changes):
    def train(folder, fields):
        return [sys.executable, str(Path(recipe).parent / "trainer.py"), str(folder), fields["phases.0.learning_rate"]]

    fields = {"data.store": str(Path(recipe).parent / "store"), "phases.0.steps": str(STEPS)}
    settings = {"sampler": "grid", "pruner": "none", "rungs": 5, "held_out": False} | changes
    varied = space.parse([f"phases.0.learning_rate={values}"])
    return Sweep(str(recipe), fields, varied, Path(workdir), commands=trial.Commands(train, None), **settings)


def rates(figures, state):
    return {t["fields"]["phases.0.learning_rate"] for t in figures["trials"] if t["state"] == state}


def test_a_grid_is_tried_whole_and_the_best_found(recipe, tmp_path):
    figures = sweep(recipe, tmp_path).run()
    assert rates(figures, "complete") == {1e-3, 3e-3, 1e-2, 1e-1}
    assert figures["best"]["fields"] == {"phases.0.learning_rate": 1e-2}
    assert figures["best"]["value"] == pytest.approx(sum(1 / s for s in range(17, 21)) / 4)
    assert json.loads((tmp_path / "sweep.json").read_text()) == figures
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    table = describe(figures).splitlines()
    assert "0.01  0.0543" in table[1]
    assert table[-1] == "the best: --config.phases.0.learning_rate=0.01"
    with pytest.raises(ConfigError, match="holds a sweep with another space"):
        sweep(recipe, tmp_path, "1e-3|1e-2")


def test_bad_trials_end_early(recipe, tmp_path):
    figures = sweep(recipe, tmp_path, "1e-3..1:log", sampler="tpe", trials=8, pruner="median").run()
    states = [t["state"] for t in figures["trials"]]
    assert len(states) == 8
    assert "pruned" in states
    stopped = next(t for t in figures["trials"] if t["state"] == "pruned")
    assert "worse than the others there" in stopped["note"]
    others = [t["losses"]["2"] for t in figures["trials"] if t["trial"] < stopped["trial"] and "2" in t["losses"]]
    assert min(stopped["losses"].values()) > min(others)


def test_a_failed_trial_says_why(recipe, tmp_path):
    figures = sweep(recipe, tmp_path / "one", "10|0.1").run()
    assert [t["note"] for t in figures["trials"] if t["state"] == "fail"] == ["the learning rate is too high"]
    assert rates(figures, "complete") == {0.1}
    with pytest.raises(ConfigError, match="no trial could be trained; the first one says: the learning rate is too"):
        sweep(recipe, tmp_path / "none", "10|20").run()


def test_killed_it_goes_on_with_the_training_under_way_and_two_processes_share(recipe, tmp_path):
    here = Path(__file__).parent
    command = [sys.executable, "-c", DRIVER, str(here), str(here.parents[1]), str(recipe), str(tmp_path)]
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("trials/0001/metrics.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.03)
        os.kill(process.pid, signal.SIGKILL)
    log = tmp_path / "trials" / "0001" / "metrics.jsonl"
    other = subprocess.Popen(command)
    figures = sweep(recipe, tmp_path).run()
    assert other.wait(60) == 0
    assert rates(figures, "complete") == {1e-3, 3e-3, 1e-2, 1e-1}
    assert len(figures["trials"]) == 4
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))  # one training, which no two processes wrote at once


def test_a_trial_is_nobody_elses_until_its_end_is_told(recipe, tmp_path, monkeypatch):
    one = sweep(recipe, tmp_path, "1e-2")
    tell, found = one.study.tell, []

    def told(number, *args, **kwargs):
        found.append(locks.hold(tmp_path / "trials" / f"{number:04d}" / "lock", wait=False))
        tell(number, *args, **kwargs)

    monkeypatch.setattr(one.study, "tell", told)
    one.run()
    assert found == [None]


def test_the_space_in_words():
    parsed = space.parse(
        [
            "phases.0.learning_rate=1e-3..1e-1:log:3",
            "model.layers=1..4",
            "optimizer=lamb|adamw",
            "unigram_bias=true|false",
        ]
    )
    assert parsed == {
        "phases.0.learning_rate": Range(1e-3, 1e-1, log=True, points=3),
        "model.layers": Range(1, 4),
        "optimizer": Choice(("lamb", "adamw")),
        "unigram_bias": Choice((True, False)),
    }
    assert parsed["phases.0.learning_rate"].grid("x") == (1e-3, 1e-2, 1e-1)
    assert Range(8, 64, log=True, points=4).grid("x") == (8, 16, 32, 64)
    assert space.as_text(True) == "true"


def test_a_space_in_a_file(tmp_path):
    path = tmp_path / "space.py"
    path.write_text("from bert_jax.sweeping.space import Choice\nspace = {'model.layers': Choice((1, 2))}\n")
    assert space.read(str(path)) == {"model.layers": Choice((1, 2))}
    path.write_text("space = {'model.layers': [1, 2]}\n")
    with pytest.raises(ConfigError, match="must assign space"):
        space.read(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.layers", "give FIELD=LOW..HIGH"),
        ("model.layers=4..1", "low must be below high"),
        ("model.layers=0..4:log", "above 0 on a logarithmic scale"),
        ("model.layers=1..x", "a range is LOW..HIGH"),
        ("model.layers=1..4:log:2:3", "a range is LOW..HIGH"),
        ("model.layerz=1|2", "there is no field 'layerz'; did you mean 'layers'"),
        ("model.dropout=0.1|2", "model.dropout is 2"),
        ("model.layers=1..4", "a grid needs a number of points, such as 1..4:4"),
    ],
)
def test_a_wrong_space_is_named_before_anything_runs(recipe, tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        Sweep(str(recipe), {"data.store": str(recipe.parent / "store")}, space.parse([text]), tmp_path, sampler="grid")


# Writes what a fine-tuning does whose dev accuracy is highest, and training loss too, at a learning rate of 0.01.
TUNER = f"""
import json, math, sys
from pathlib import Path
folder, rate = Path(sys.argv[1]), float(sys.argv[2])
(folder / "config.json").write_text(json.dumps({{"phases": [{{"steps": {STEPS}}}]}}))
right = 1 - abs(math.log10(rate / 0.01)) / 10
lines = [json.dumps({{"step": step, "loss": 2 - right}}) for step in range(1, {STEPS} + 1)]
(folder / "metrics.jsonl").write_text("\\n".join(lines) + "\\n")
(folder / "scores.json").write_text(json.dumps({{"seeds": [{{"dev_accuracy": right, "dev_f1": 1 - right}}]}}))
"""


def tuning_file(folder, encoder="encoder") -> Path:
    (folder / "tuner.py").write_text(TUNER)
    path = folder / "task.py"
    path.write_text(
        "from bert_jax.config import FineTuning, use\n"
        f"config = FineTuning('t', use('classification'), use('json_lines', train={str(folder / 'train.jsonl')!r}), "
        f"init_from={encoder!r}, length=64, batch_size=16, epochs=2, evaluations=2)\n"
    )
    return path


@pytest.mark.parametrize(("metric", "best"), [("", 1e-2), ("f1", 1e-4)])
def test_fine_tuning_is_judged_by_the_highest_dev_metric(tmp_path, metric, best):
    made = []

    def train(folder, fields):
        made.append(fields)
        return [sys.executable, str(tmp_path / "tuner.py"), str(folder), fields["learning_rate"]]

    varied = space.parse(["learning_rate=1e-4|1e-2|1e-1", "schedule.warmup=0.1"])
    score = trial.tuning_commands("", {}, f"dev_{metric or 'accuracy'}").score
    found = Sweep(
        *(str(tuning_file(tmp_path)), {"best_metric": metric}, varied, tmp_path / "sweep", "grid"),
        pruner="none",
        rungs=5,
        commands=trial.Commands(train, None, score),
    ).run()
    assert found["measure"] == f"dev_{metric or 'accuracy'}"
    assert found["best"]["fields"]["learning_rate"] == best
    values = [float(line.split()[3]) for line in describe(found).splitlines()[1:4]]
    assert values == sorted(values, reverse=True)
    assert found["best"]["value"] == pytest.approx(max(values), abs=1e-4)
    assert all(list(t["losses"]) == ["1", "2", "3", "4"] for t in found["trials"])
    assert made[0].keys() == {"learning_rate", "schedule.warmup"}


def test_fine_tuning_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"give --config\.init_from=, a folder with one"):
        Sweep(str(tuning_file(tmp_path, "")), {}, space.parse(["learning_rate=1e-4|1e-2"]), tmp_path / "sweep", "grid")


@pytest.mark.slow
def test_a_real_fine_tuning_is_searched(tmp_path):
    """By the command itself, on a tiny set: a rate that learns is better than one that does not."""
    import jax
    from test_finetune import MODEL, PIECES, sentence

    from bert_jax.formats import huggingface
    from bert_jax.modeling import bert, heads

    (tmp_path / "encoder").mkdir()
    huggingface.write(
        MODEL, jax.device_get(bert.init(MODEL, jax.random.key(3), heads.parts(MODEL, "pooler"))), tmp_path / "encoder"
    )
    (tmp_path / "encoder/vocab.txt").write_text("\n".join(PIECES) + "\n")
    rng = np.random.default_rng(0)
    rows = [{"text": sentence(rng, kind), "label": ("bad", "good")[kind]} for kind in rng.integers(0, 2, 300)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    recipe = tuning_file(tmp_path, str(tmp_path / "encoder"))
    command = [sys.executable, "-m", "bert_jax.sweep", f"--config={recipe}", f"--workdir={tmp_path / 'sweep'}"]
    flags = ["--config.epochs=20", "--vary=learning_rate=1e-9|5e-3", "--vary=batch_size=16", "--sampler=grid"]
    done = subprocess.run([*command, *flags], env=runs.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "sweep/sweep.json").read_text())
    assert [t["state"] for t in figures["trials"]] == ["complete"] * 2
    assert figures["measure"] == "dev_accuracy"
    assert figures["best"]["fields"] == {"learning_rate": 5e-3, "batch_size": 16}
    assert figures["best"]["value"] > 0.8
    assert "the best: --config.learning_rate=0.005 --config.batch_size=16" in done.stdout


def test_a_trial_is_evaluated_on_the_store_that_it_was_trained_on(recipe, tmp_path):
    """Which lies outside of its folder: evaluate opens it only where it is named."""
    config = override(read(str(recipe)), {"data.store": str(recipe.parent / "store")})
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    evaluate = trial.commands(str(recipe), {}, held_out=True).evaluate
    assert evaluate is not None
    assert f"--store={recipe.parent / 'store'}" in evaluate(tmp_path)


@pytest.mark.slow
def test_real_trainings_end_to_end(recipe, tmp_path):
    """By the command itself, killed in the middle."""
    command = [sys.executable, "-m", "bert_jax.sweep", f"--config={recipe}", f"--workdir={tmp_path}"]
    fields = {"data.store": recipe.parent / "store", "phases.0.steps": 30, "evaluation.single_mask_rows": 1}
    flags = [f"--config.{name}={value}" for name, value in fields.items()]
    flags += ["--vary=phases.0.learning_rate=1e-4..1e-1:log:2", "--vary=optimizer=lamb|adamw", "--sampler=grid"]
    with subprocess.Popen([*command, *flags]) as process:
        while not list(tmp_path.glob("trials/0001/metrics.jsonl")):
            assert process.poll() is None
            time.sleep(0.2)
        process.kill()
    done = subprocess.run([*command, *flags, "--pruner=asha"], capture_output=True, text=True, check=True)
    figures = json.loads((tmp_path / "sweep.json").read_text())
    assert len(figures["trials"]) == 4
    assert all(t["state"] in ("complete", "pruned") for t in figures["trials"])
    evaluated = json.loads((tmp_path / "trials" / f"{figures['best']['trial']:04d}" / "evaluation.json").read_text())
    assert figures["best"]["value"] == evaluated["eval_loss"]
    assert "the best: --config.phases.0.learning_rate=" in done.stdout
    fields = {f: space.as_text(v) for f, v in figures["best"]["fields"].items()}
    found = override(read(str(recipe)), fields)
    assert found.phases[0].learning_rate == figures["best"]["fields"]["phases.0.learning_rate"]

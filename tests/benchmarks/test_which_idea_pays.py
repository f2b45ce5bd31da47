"""Which idea pays: equal compute, one line of rates, what counts as a difference; a tiny run from start to end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from benchmarks import ideas, kept
from benchmarks.which_idea_pays import beside, describe
from bert_jax.analysis import flops
from configuration import locks
from configuration.variants import ConfigError, load
from data_pipeline.store import Store
from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import Tokenizer

ROOT = Path(__file__).parents[2]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
V = 101
TASK = """
from bert_jax.config import FineTuning, use
source = use("json_lines", train="{folder}/train.jsonl", dev="{folder}/dev.jsonl")
config = FineTuning("kind", use("classification"), source, length=32, batch_size=16, epochs=1)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of invented words, with the annotations of all ideas."""
    words = [*SPECIALS, *(f"▁w{i}" for i in range(V - len(SPECIALS)))]
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    rng = np.random.default_rng(0)
    documents = [[rng.integers(5, V, n).tolist() for n in rng.integers(1, 15, 8)] for _ in range(60)]
    return write_store(
        tmp_path_factory.mktemp("ideas") / "store",
        {"train": documents[:50], "held_out": documents[50:]},
        vocab_size=V,
        word_starts=np.arange(V) % 3 > 0,
        annotations={
            "capitals": np.arange(V) % 5 > 0,
            "phrases": np.arange(V) % 4 > 0,
            "capital_letters": np.arange(V, dtype=np.uint8) % 3,
            "sentence_starts": np.zeros(V, bool),
        },
        tokenizer=Tokenizer("sentencepiece", backend.to_str()),
    )


KNOWN = {name: idea for name, idea in ideas.ideas(ideas.Lists("", "capitals")).items() if name != "macbert"}


@pytest.mark.parametrize("name", KNOWN)
def test_the_rates_of_all_stages_make_one_line(store: Store, name: str) -> None:
    config = ideas.training(name, KNOWN[name], store, "small", 1e-3, 300)
    rates = []
    for phase in config.phases:
        schedule = load("bert_jax.training.schedules", phase.schedule)(phase.steps, phase.learning_rate)
        rates += [float(schedule(step)) for step in range(phase.steps)]
    rise = min(30, config.phases[0].steps)
    wanted = [min(step / rise, (300 - step) / (300 - rise)) * 1e-3 for step in range(300)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-5, atol=1e-10)


def test_compute_counts_the_generator_and_the_heads(store: Store) -> None:
    of = lambda name: ideas.training(name, KNOWN[name], store, "small", 1e-3)
    needed = {name: ideas.step_flops(of(name)) for name in KNOWN}
    assert needed["tokens"] == needed["words"] == needed["ngrams"] == needed["spans"] == needed["ernie"]
    assert needed["spans_sbo"] > needed["tokens"]
    one = of("tokens")
    formula = one.phases[0].batch_size * flops.needed_flops(one.model, one.phases[0].length, 19)
    assert needed["tokens"] == pytest.approx(formula, rel=0.05)
    # The discriminator reads all places where the masked language model's last layer reads 19.
    assert needed["electra"] > needed["tokens"] * 1.2


@pytest.mark.parametrize("name", KNOWN)
def test_one_store_serves_all_ideas(store: Store, name: str) -> None:
    ideas.check(name, ideas.training(name, KNOWN[name], store, "small", 1e-3), store)


def test_an_annotation_that_the_store_lacks_is_named(store: Store) -> None:
    idea = ideas.ideas(ideas.Lists("", "names"))["ernie"]
    with pytest.raises(ConfigError, match=r"ernie needs the annotation names, .* or leave ernie out of --ideas"):
        ideas.check("ernie", ideas.training("ernie", idea, store, "small", 1e-3), store)


@pytest.mark.parametrize(
    ("own", "paired", "lower_is_better", "verdict"),
    [
        ([0.8, 0.81, 0.82], "better", False, "better"),
        ([0.8, 0.81, 0.82], "within noise", False, "noise"),
        ([0.8, 0.81, 0.82], "worse", False, "noise"),
        ([0.7, 0.81, 0.82], "better", False, "noise"),
        ([0.6, 0.61, 0.62], "worse", False, "worse"),
        ([0.6, 0.61, 0.62], None, True, "better"),
        ([0.8, 0.82], "better", False, "noise"),
    ],
)
def test_a_difference_counts_where_seeds_lie_apart_and_examples_agree(
    own: list[float], paired: str | None, lower_is_better: bool, verdict: str
) -> None:
    found = beside(own, [0.7, 0.71, 0.72], "words", {"verdict": paired} if paired else None, lower_is_better)
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx(np.median(own) - 0.71)


def test_the_table_has_what_each_system_has() -> None:
    tokens = beside([0.7, 0.71, 0.72], [0.7, 0.71, 0.72], "tokens")
    electra = beside([0.8, 0.81, 0.82], [0.7, 0.71, 0.72], "electra", {"verdict": "better"})
    systems = {
        "tokens": {"steps": 9, "train_seconds": 5.0, "paper": "BERT", "scores": {"held-out loss": tokens, "a": tokens}},
        "electra": {"steps": 6, "train_seconds": 5.0, "paper": "ELECTRA", "scores": {"a": electra}},
        "tfidf": {"scores": {"a": beside([0.9], [0.7, 0.71, 0.72], "tfidf", {"verdict": "better"})}},
    }
    figures = {"size": "small", "compute": "flops", "seeds": 3, "tasks": {"a": "accuracy"}, "systems": systems}
    rows = describe("english", figures).splitlines()
    assert rows[0] == "english: encoder small, equal FLOPs, seeds: 3; median (range)"
    assert rows[2].split() == ["tokens", "9", "5", *["0.7100", "(0.7000–0.7200)"] * 2]
    assert rows[3].split() == ["electra", "6", "5", "–", "0.8100", "(0.8000–0.8200)", "better"]
    assert rows[4].split() == ["tfidf", "–", "0.9000", "better"]
    assert rows[-1].split() == ["electra", "ELECTRA"]


def test_what_is_measured_is_kept_until_something_else_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    first = kept.measured(path, {"asked": [1]}, dict, {"process": 1})
    assert (first["asked"], first["process"]) == ([1], 1)
    assert first == kept.measured(path, {"asked": [1]}, dict, {"process": 2})
    assert kept.measured(path, {"asked": [2]}, dict, {"process": 3})["process"] == 3


def test_what_another_process_measures_comes_last(tmp_path: Path) -> None:
    held = locks.hold(tmp_path / "a.lock", wait=False)
    order = []

    def work(name: str) -> dict[str, str]:
        order.append(name)
        if name == "b":
            os.close(held)
        return {"name": name}

    job = lambda name: lambda wait: kept.measured(tmp_path / f"{name}.json", {}, work, name, wait=wait)
    found = kept.shared([job("a"), job("b"), job("c")])
    assert order == ["b", "c", "a"]
    assert [figures["name"] for figures in found] == ["a", "b", "c"]


def test_work_ends_with_what_began_it(tmp_path: Path) -> None:
    """A killed benchmark leaves no training behind that the next start would have to wait for."""
    pid = tmp_path / "pid"
    (tmp_path / "own_work.py").write_text(
        f"import os, time\ndef work():\n    open({str(pid)!r}, 'w').write(str(os.getpid()))\n    time.sleep(300)\n"
    )
    begin = "import own_work, pathlib; from benchmarks import kept\n"
    begin += f"kept.measured(pathlib.Path({str(tmp_path / 'own.json')!r}), {{}}, kept.in_own_process, own_work.work)"
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen([sys.executable, "-c", begin], env=environment) as parent:
        wait_until(lambda: pid.exists() and pid.read_text() != "")
        parent.kill()
    wait_until(lambda: not is_running(int(pid.read_text())))
    assert not (tmp_path / "own.json").exists()


def wait_until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether the process is there, and no zombie that nobody has waited for."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
def test_a_tiny_run_stopped_in_the_middle_goes_on(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for split, number in (("train", 64), ("dev", 32)):
        rows = [{"text": f"w{i} w{rng.integers(96)}", "label": "ab"[i % 2]} for i in rng.integers(0, 96, number)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "kind.py").write_text(TASK.format(folder=tmp_path))
    folder, figures, png = tmp_path / "runs", tmp_path / "figures.json", tmp_path / "ideas.png"
    command = [
        *(sys.executable, str(ROOT / "benchmarks/which_idea_pays.py"), f"--store={store.path}", f"--folder={folder}"),
        *(f"--tasks={tmp_path / 'kind.py'}", "--ideas=ernie,ernie2,electra", "--seeds=1", "--steps=6", "--size=small"),
        *(f"--json={figures}", f"--png={png}"),
    ]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True) as stopped:
        wait_until(lambda: [*folder.glob("english/tokens-0-*.json")] != [], 240)
        stopped.send_signal(signal.SIGTERM)
    whole = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, check=True, capture_output=True, timeout=600
    )
    found = json.loads(figures.read_text())["english"]
    systems = found["systems"]
    assert list(systems) == ["tokens", "ernie", "ernie2", "electra", "unigram", "untrained", "majority", "tfidf"]
    assert systems["tokens"]["steps"] == systems["ernie"]["steps"] == 6 > systems["electra"]["steps"]
    assert all("kind" in systems[name]["scores"] for name in systems if name != "unigram")
    with_a_loss = {name for name in systems if "held-out loss" in systems[name]["scores"]}
    assert with_a_loss == {"tokens", "ernie", "ernie2", "unigram"}
    assert systems["ernie"]["scores"]["kind"]["verdict"] == "noise"  # one seed
    assert "ELECTRA (Clark et al. 2020)" in whole.stdout
    assert png.stat().st_size > 1000
    assert not [*folder.glob("english/tuned/*/checkpoints")]
    began = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    again = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, check=True, capture_output=True, timeout=600
    )
    assert again.stdout == whole.stdout
    assert began == {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}

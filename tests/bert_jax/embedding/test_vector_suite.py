"""Frozen vectors on labelled sets: figures of known vectors, and the command, which goes on where it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import shipped
from encoders import make_encoder, make_texts
from scipy import stats

from bert_jax import vector_suite
from bert_jax.config import VectorSet, VectorSuite
from bert_jax.embedding import evaluations
from bert_jax.formats import native
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, use
from data_pipeline.errors import DataError
from data_pipeline.labelled import Record

pytest.importorskip("sklearn")
ROOT = Path(__file__).parents[3]
PLACES = {"east": (1, 0), "north": (0, 1), "northeast": (1, 1), "west": (-1, 0), "south": (0, -1)}


def embed(texts) -> np.ndarray:
    return np.array([PLACES[text] for text in texts], np.float32)


def records(*rows: dict) -> list[Record]:
    return [Record(row, f"{row.get('file', 'file')}:{i}") for i, row in enumerate(rows, 1)]


def evaluate(variant, found: list[Record]) -> dict[str, float]:
    evaluation = load(evaluations.PACKAGE, variant)()
    figures = evaluation.evaluate(embed, found)
    assert evaluation.main in figures
    return figures


def pair(first: str, second: str, score, file: str = "a") -> dict:
    return {"first": first, "second": second, "score": score, "file": file}


SCORED = records(
    pair("east", "east", 5), pair("east", "west", 0), pair("north", "northeast", 1), pair("north", "east", 2),
    pair("south", "north", 1, "b"), pair("south", "south", 4, "b"), pair("south", "west", 2, "b"),
)  # fmt: skip


def test_graded_pairs_have_both_protocols_of_sts() -> None:
    found = evaluate(use("pairs"), SCORED)
    cosines = [1, -1, 0.5**0.5, 0, -1, 1, 0]
    scores = [record.values["score"] for record in SCORED]
    each = [stats.spearmanr(cosines[a:b], scores[a:b]).statistic for a, b in ((0, 4), (4, 7))]
    assert found["spearman"] == pytest.approx(stats.spearmanr(cosines, scores).statistic)
    assert found["spearman_mean"] == pytest.approx(np.mean(each))
    assert found["spearman_wmean"] == pytest.approx((4 * each[0] + 3 * each[1]) / 7)
    assert found["average_precision"] == 1  # both pairs above the middle have the highest cosines
    assert found["negative_alignment"] == 0
    assert found["recall@1"] == found["mrr@10"] == 1


def test_labelled_pairs_are_classified() -> None:
    named = records(*(row.values | {"score": "same" if row.values["score"] > 1 else "other"} for row in SCORED))
    found = evaluate(use("pairs", positive="same"), named)
    assert found["average_precision"] == pytest.approx(2 / 4 * 1 + 2 / 4 * 4 / 5)


def test_pairs_without_a_score() -> None:
    unscored = [*SCORED, *records(pair("east", "north", ""))]
    assert evaluate(use("pairs", leave_out_unscored=True), unscored) == evaluate(use("pairs"), SCORED)
    with pytest.raises(DataError, match="score is '', which is no finite number; see leave_out_unscored"):
        evaluate(use("pairs"), unscored)


def test_retrieval_ranks_all_documents(tmp_path: Path) -> None:
    asked = records({"query": "east", "document": "northeast"}, {"query": "north", "document": "north"})
    found = evaluate(use("retrieval"), asked)
    assert found == {"ndcg@10": 1, "mrr@10": 1, "recall@1": 1}
    (tmp_path / "more.jsonl").write_text('{"document": "east"}\n{"document": "south"}\n')
    found = evaluate(use("retrieval", corpus=str(tmp_path / "more.jsonl")), asked)
    assert found["mrr@10"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["ndcg@10"] == pytest.approx((1 / np.log2(3) + 1) / 2)


def test_clusters_are_the_labels() -> None:
    rows = [{"text": text, "label": text in ("east", "northeast")} for text in ("east", "northeast", "west", "south")]
    assert evaluate(use("clustering"), records(*rows * 3)) == {"v_measure": 1, "adjusted_rand": 1}
    with pytest.raises(DataError, match="3 records have 1 labels"):
        evaluate(use("clustering"), records(*rows[:1] * 3))


def test_a_set_is_named_on_the_command_line() -> None:
    suite = VectorSuite("s", (VectorSet("a", use("pairs"), use("json_lines")), VectorSet("b", use("pairs"), use("x"))))
    changed = vector_suite.override(suite, {"b.source": "lines", "b.source.test": "file", "sets.0.split": "dev"})
    assert changed.sets[1].source == use("lines", test="file")
    assert changed.sets[0].split == "dev"
    assert [each.name for each in vector_suite.chosen(changed, ["b"])] == ["b"]
    with pytest.raises(ConfigError, match="--sets=c: the suite s has no such set"):
        vector_suite.chosen(changed, ["c"])


@pytest.mark.parametrize("path", shipped.files("configs/vectors"), ids=lambda path: path.stem)
def test_shipped_suites(path: Path) -> None:
    suite = config_flags.read(str(path), ("sets",), "VectorSuite")
    assert suite.name == path.stem
    for each in suite.sets:
        assert load(evaluations.PACKAGE, each.evaluation)().main
    document = path.read_text().split('"""')[1]
    for part in (f"bert_jax.vector_suite --config=configs/vectors/{path.name}", "Source: ", "Expected: "):
        assert part in document


def test_the_command(tmp_path: Path) -> None:
    encoder = make_encoder()
    (tmp_path / "model").mkdir()
    native.write(encoder.config, encoder.params, tmp_path / "model")
    encoder.tokenizer.save(tmp_path / "model/tokenizer")
    texts = [text for text in make_texts(80) if text]
    rows = [pair(*both, i % 6) for i, both in enumerate(zip(texts[::2], texts[1::2], strict=False))]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "suite.py").write_text(
        "from bert_jax.config import VectorSet, VectorSuite, use\n"
        "config = VectorSuite('mine', (VectorSet('likeness', use('pairs'), use('json_lines', test='absent')),))\n"
    )
    given = {"config": "suite.py", "models": "model", "workdir": "out", "config.likeness.source.test": "pairs.jsonl"}

    def run() -> subprocess.CompletedProcess:
        files = [f"--{name}={tmp_path / file}" for name, file in given.items()]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "bert_jax.vector_suite", *files]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)

    done = run()
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "out/table.json").read_text())
    (figures,) = table["sets"]["likeness"]["models"].values()
    u, v = (encoder.embed([row[name] for row in rows]) for name in ("first", "second"))
    wanted = stats.spearmanr((u * v).sum(-1), [row["score"] for row in rows]).statistic
    assert figures["spearman"] == pytest.approx(wanted, abs=1e-4)
    (file,) = (tmp_path / "out/figures").iterdir()
    file.write_text(json.dumps(figures | {"spearman": 0.25}))  # what is there is not measured again
    assert "0.2500" in run().stdout
    del given["config.likeness.source.test"]
    done = run()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "set likeness: json_lines.test" in done.stderr

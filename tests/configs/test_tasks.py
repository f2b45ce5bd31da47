"""Every task and suite that is shipped can be read, names what exists, and says its command, source and expectation."""

from pathlib import Path

import pytest
import shipped

from bert_jax.config import FineTuning, Suite
from bert_jax.tasks import load_task, objective_of
from configuration import flags as config_flags
from configuration.variants import load

TASKS, SUITES = shipped.tasks(), shipped.suites()
stems = lambda paths: [path.stem for path in paths]


@pytest.mark.parametrize("path", TASKS, ids=stems(TASKS))
def test_task(path: Path) -> None:
    config = config_flags.read(str(path), ("task", "source"), "FineTuning")
    assert isinstance(config, FineTuning)
    assert config.name == path.stem
    assert load_task(config.task).main
    load("bert_jax.objectives", objective_of(config.task))
    load("data_pipeline.labelled", config.source)
    document = path.read_text().split('"""')[1]
    for part in (f"bert_jax.finetune --config=configs/tasks/{path.name}", "Source: ", "Expected: "):
        assert part in document
    assert config_flags.override(config, {"epochs": "2", "source.train": "x"}).source.options["train"] == "x"


@pytest.mark.parametrize("path", SUITES, ids=stems(SUITES))
def test_suite(path: Path) -> None:
    config = config_flags.read(str(path), ("tasks",), "Suite")
    assert isinstance(config, Suite)
    assert config.name == path.stem
    assert {(path.parent / member.file).resolve() for member in config.tasks} <= set(TASKS)
    document = path.read_text().split('"""')[1]
    for part in (f"bert_jax.suite --config=configs/suites/{path.name}", "Source: ", "Expected: "):
        assert part in document


def test_there_are_tasks_and_suites() -> None:
    assert {"polarity", "squad", "glue_cola", "cmrc2018"} <= set(stems(TASKS))
    assert {"chinese", "english", "glue"} <= set(stems(SUITES))
    assert not {"polarity", "glue"} & set(stems(shipped.recipes()))

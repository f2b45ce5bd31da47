"""--help and bad usage, of every command that takes a configuration."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bert_jax.config import Config, FineTuning, Phase, Variant
from configuration import usage

FIELDS = {field.name: field for field in usage.fields(Config)}
OF_TASKS = {field.name: field for field in usage.fields(FineTuning)}
COMMANDS = [
    *(f"bert_jax.{name}" for name in ("train", "pretrain", "sweep", "trace", "compile_tpu")),
    *(f"data_pipeline.{name}" for name in ("prepare", "beam")),
]


def run(command: str, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", command, *flags], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_flags_and_every_field(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python -m {command} --config=" in done.stdout
    assert "\n  --json: string = ''\n      Also write the command's figures" in done.stdout
    for name, field in FIELDS.items():
        assert f"\n  --config.{name}: {field.kind}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize("command", ["bert_jax.finetune", "bert_jax.suite"])
def test_help_shows_every_field_of_fine_tuning(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for name, field in OF_TASKS.items():
        assert f"\n  --config.{name}: {field.kind}" in done.stdout
        assert len(field.meaning) > 4
    assert "--config.phases" not in done.stdout
    assert "source.train=my." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


def test_every_field_has_a_type_a_default_and_a_meaning() -> None:
    assert [name for name, field in FIELDS.items() if len(field.meaning) < 5] == []
    required = {"name", *(f"phases.0.{name}" for name in ("steps", "length", "batch_size", "learning_rate"))}
    assert {name for name, field in FIELDS.items() if not field.default} == required
    assert FIELDS["model.norm"][1:3] == ("post | pre", "post")
    assert FIELDS["data.store"][1:3] == ("str", "''")
    assert FIELDS["data.sources"][1:3] == ("list of variant", "[]")
    assert FIELDS["phases.0.schedule"][1:3] == ("variant", "linear(warmup=0.1)")
    assert FIELDS["mesh.fsdp"].meaning == "parameters and moments are split over it, and so is the batch"


def test_the_fields_are_those_of_a_configuration() -> None:
    config = Config("test", (Phase(10, 32, 4, 1e-3),))
    for name, field in FIELDS.items():
        value: Any = config
        for part in name.split("."):
            value = value[int(part)] if part.isdigit() else getattr(value, part)
        assert isinstance(value, Variant) == (field.kind == "variant"), name


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--config=… is missing"),
        (("--confg=x",), "Unknown command line flag 'confg'. Did you mean: config ?"),
        (("--config",), "Missing value for flag --config"),
        (("--config=configs/demo.py", "--workdir={0}", "more"), "unexpected argument 'more'"),
        (("--config=configs/demo.py", "--workdir={0}", "--steps=x"), "flag --steps=x: invalid literal for int()"),
        (("--config=configs/demo.py", "--workdir={0}", "--steps=0"), "flag --steps=0: 0 is not a positive integer"),
        (("--config=configs/demo.py", "--workdir={0}", "--config.sed=1"), "config.sed: there is no field 'sed'"),
        (("--config=configs/demo.py", "--workdir={0}", "--config.seed=x"), "config.seed is 'x': input should be"),
        (("--config=configs/demo.py", "--workdir={0}", "--config.seed=-1"), "config.seed is -1; it must be between"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(tmp_path, flags: tuple[str, ...], message: str) -> None:
    done = run("bert_jax.trace", *(flag.format(tmp_path / "run") for flag in flags))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_config_file_that_is_wrong_is_bad_input_not_bad_usage(tmp_path) -> None:
    done = run("bert_jax.trace", "--config=none.py", f"--workdir={tmp_path}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("command", ["train", "report"])
def test_a_work_folder_without_a_name(command: str) -> None:
    done = run(f"bert_jax.{command}", "--workdir=", *["--config=configs/demo.py"][: command == "train"])
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("error: .*--workdir.* must name a folder; .*\n", done.stderr)


def test_figures_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text("from configuration import cli\ncli.run(lambda: {'loss': 1.0})\n")
    (tmp_path / "file").touch()
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-m", "command", f"--json={tmp_path}/file/figures.json"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 1
    assert re.fullmatch(r"error: (Not a directory|File exists) \(.*/file.*\)\n", done.stderr), done.stderr

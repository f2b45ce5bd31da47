"""Overrides from the command line: right values land, wrong ones are one clear line."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.config import Config, Data, Phase
from configuration import flags as config_flags
from configuration.variants import ConfigError, load, use

CONFIG = Config("small", (Phase(steps=10, length=128, batch_size=8, learning_rate=1e-3),))
FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


@pytest.mark.parametrize(
    ("field", "text", "read"),
    [
        ("model.layers", "3", lambda c: c.model.layers == 3),
        ("model.dropout", "0", lambda c: c.model.dropout == 0.0),
        ("model.isolate_documents", "false", lambda c: c.model.isolate_documents is False),
        ("name", "7", lambda c: c.name == "7"),
        ("phases.0.steps", "5", lambda c: c.phases[0].steps == 5),
        ("optimizer", "adamw", lambda c: c.optimizer == use("adamw")),
        ("optimizer.b1", "0.8", lambda c: c.optimizer == use("lamb", b1=0.8)),
        ("optimizer.options.b1", "0.8", lambda c: c.optimizer == use("lamb", b1=0.8)),
        ("model.positions", "functional_relative", lambda c: c.model.positions == use("functional_relative")),
        ("data.weights", "[3, 1]", lambda c: c.data.weights == (3.0, 1.0)),
        ("data.weights", "3,1", lambda c: c.data.weights == (3.0, 1.0)),
        ("examples", '["a [MASK]"]', lambda c: c.examples == ("a [MASK]",)),
    ],
)
def test_a_field_takes_its_value(field: str, text: str, read) -> None:
    assert read(config_flags.override(CONFIG, {field: text}))


def test_a_list_of_variants_takes_names_and_then_their_options() -> None:
    given = {"transforms": "average,prune", "transforms.0.decay": "0.9", "loggers": "jsonl"}
    config = config_flags.override(CONFIG, given)
    assert config.transforms == (use("average", decay=0.9), use("prune"))
    assert config.loggers == (use("jsonl"),)
    assert config_flags.override(config, {"transforms": ""}).transforms == ()


def test_a_list_grows_at_its_end() -> None:
    given = {"data.annotations.0": "capitals", "data.annotations.1": "phrases", "data.annotations.1.file": "x.txt"}
    config = config_flags.override(CONFIG, {**given, "examples.0": "3", "data.weights.0": "3", "transforms.0": "prune"})
    assert config.data.annotations == (use("capitals"), use("phrases", file="x.txt"))
    assert (config.examples, config.data.weights, config.transforms) == (("3",), (3.0,), (use("prune"),))
    loggers = len(CONFIG.loggers)
    assert config_flags.override(CONFIG, {f"loggers.{loggers}": "wandb"}).loggers == (*CONFIG.loggers, use("wandb"))


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("data.annotations.1", "capitals", "'1' is not a place in a list of 0 (counted from 0); the whole list is set"),
        ("data.annotations.0.file", "x", "config.data.annotations.0.file: '0' is not a place in a list of 0"),
        ("data.weights.0", "x", "config.data.weights.0 is 'x': input should be a valid number"),
        ("phases.1", "x", "config.phases.1: '1' is not a place in a list of 1"),
        ("model.layres", "2", "config.model.layres: there is no field 'layres'; did you mean 'layers'?"),
        ("model.layers", "two", "config.model.layers is 'two': input should be a valid integer"),
        ("model.layers", "2.5", "config.model.layers is 2.5: input should be a valid integer"),
        ("model.layers", "true", "config.model.layers is 'true'; it must be a number"),
        ("model.heads", "5", "config.model.heads is 5; it must be a divisor of model.width=768"),
        ("model.norm", "sandwich", "config.model.norm is 'sandwich': input should be 'post' or 'pre'"),
        ("model.dropout", "1.5", "config.model.dropout is 1.5; it must be at least 0 and below 1"),
        ("phases.0.length", "7", "config.phases.length is 7; it must be at least 8 tokens"),
        ("phases.0.length", "513", "config.phases.0.length is 513; it must be at most model.max_length=512"),
        ("phases.1.steps", "4", "config.phases.1.steps: '1' is not a place in a list of 1 (counted from 0)"),
        ("data.weights", "[1, 0]", "config.data.weights is (1.0, 0.0); it must be numbers above 0"),
        ("seed.x", "1", "config.seed.x has a field too many: config.seed is a value"),
        ("model", "3", "config.model is 3: input should be a dictionary"),
    ],
)
def test_a_wrong_field_or_value_is_one_clear_line(field: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        config_flags.override(CONFIG, {field: text})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_field_in_a_saved_configuration() -> None:
    tree = config_flags.to_dict(CONFIG)
    tree["phases"][0]["rows"] = 3
    with pytest.raises(ConfigError, match=r"config.phases.0.rows: there is no field 'rows'"):
        config_flags.from_dict(Config, tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_config_survives_json(path: Path) -> None:
    config = config_flags.read(str(path))
    assert config_flags.from_dict(Config, config_flags.to_dict(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = 3", "`config` is int"),
        ("from bert_jax.config import Model\nconfig = Model(heads=5)", "config.model.heads is 5"),
        ("config = Config(", "SyntaxError"),
        ("from bert_jax.config import Config\nconfig = Config(nme='x')", "unexpected keyword argument 'nme'"),
    ],
)
def test_a_broken_config_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        config_flags.read(str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_config_file() -> None:
    with pytest.raises(ConfigError, match=r"--config=none\.py: no such file"):
        config_flags.read("none.py")


def test_a_missing_flag_is_called_missing() -> None:
    command = [
        sys.executable,
        "-c",
        "from configuration import flags; from configuration import cli; cli.run(dict, flags.config_flag)",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: --config=… is missing; --help lists the flags\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model.norm_epsilon", "-1e-12"),
        ("model.norm_epsilon", "NaN"),
        ("model.init_std", "-0.02"),
        ("model.init_std", "NaN"),
        ("model.init_std", "Infinity"),
        ("model.layers", "1000000000000"),
        ("model.unroll", "-1"),
        ("model.unroll", "-2"),
        ("model.max_length", "1000000000000"),
        ("model.token_types", "-1"),
        ("model.token_types", "1000000000000"),
        ("model.embedding_width", "-1"),
        ("model.embedding_width", "1000000000000"),
        ("model.dropout", "NaN"),
        ("model.attention_dropout", "NaN"),
        ("data.held_out", "NaN"),
        ("data.weights", "[NaN]"),
        ("data.cache_gb", "NaN"),
        ("data.cache_gb", "Infinity"),
        ("data.workers", "-1"),
        ("data.workers", "1000000000000"),
        ("phases.0.batch_size", "1000000000000"),
        ("phases.0.batch_warmup.tokens", "-1"),
        ("phases.0.batch_warmup.tokens", "9223372036854775808"),
        ("phases.0.microbatches", "0"),
        ("mesh.data", "0"),
        ("mesh.tensor", "-2"),
        ("checkpoints.every_steps", "0"),
        ("checkpoints.keep", "0"),
        ("guard.factor", "NaN"),
        ("guard.factor", "1"),
        ("guard.decay", "1"),
        ("guard.grace", "0"),
        ("guard.grace", "1000000000000"),
        ("guard.roll_back_after", "-1"),
        ("guard.most_roll_backs", "0"),
        ("evaluation.batch_size", "0"),
        ("evaluation.batch_size", "1000000000000"),
        ("evaluation.max_rows", "1000000000000"),
        ("evaluation.single_mask_rows", "1000000000000"),
        ("evaluation.mask_rate", "NaN"),
        ("evaluation.seed", "-1"),
        ("evaluation.seed", "9223372036854775808"),
        ("log_every", "0"),
        ("statistics_every", "-1"),
        ("model.window", "-1"),
        ("model.global_every", "2"),
        ("phases.0.learning_rate", "Infinity"),
        ("phases.0.learning_rate", "NaN"),
        ("phases.0.steps", "1000000000000"),
        ("seed", "-1"),
        ("seed", "9223372036854775808"),
        ("seed", "4294967295"),
        ("clip_norm", "NaN"),
        ("clip_norm", "-1"),
    ],
)
def test_values_that_would_fail_late_are_refused_at_once(field, value):
    name = "phases" if field == "phases.0.steps" else field.replace("phases.0", "phases")
    with pytest.raises(ConfigError, match=rf"config.{name}"):
        config_flags.override(Config("test", (Phase(10, 32, 4, 1e-3),)), {field: value})


@pytest.mark.parametrize(
    "line", ["config = Model()", "config = Data()", "config = Config", "config = {}", "model = Model()"]
)
def test_a_file_that_assigns_something_else_is_told_so(tmp_path, line):
    path = tmp_path / "mine.py"
    path.write_text(f"from bert_jax.config import Config, Data, Model\n{line}\n")
    with pytest.raises(ConfigError, match=r"mine.py.* `config`.*; the file must assign a bert_jax.config.Config"):
        config_flags.read(str(path))


SMALL = "from bert_jax.config import Config, Data, Model, Phase, use\nphases = (Phase(10, 32, 4, 1e-3),)\n"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("data", "data = Data(held_out=0.1)"),
        ("model", "model = Model(layers=2)"),
        ("optimizer", "optimizer = use('x')"),
        ("examples", "examples = ('a [MASK]',)"),
    ],
)
def test_a_part_beside_the_config_is_not_left_out_silently(tmp_path, name, line):
    path = tmp_path / "mine.py"
    for config, after in (("Config('a', phases)", line), (f"Config('a', phases, {name}={name})", "")):
        path.write_text(f"{SMALL}{line}\nconfig = {config}\n{after}\n")
        if after:
            with pytest.raises(
                ConfigError, match=rf"mine.py: `{name}` is not what `config` holds: write Config\({name}="
            ):
                config_flags.read(str(path))
        else:
            config_flags.read(str(path))


def test_name_is_an_option_of_a_variant_and_its_field_alone_the_variant():
    config = dataclasses.replace(CONFIG, data=Data(sources=(use("tfds", name="old", split="train"),)))
    changed = config_flags.override(config, {"data.sources.0.name": "wikipedia/20230601.en"})
    assert changed.data.sources == (use("tfds", name="wikipedia/20230601.en", split="train"),)
    changed = config_flags.override(config, {"data.sources.0": "text_files", "data.sources.0.paths": "a.txt"})
    assert changed.data.sources == (use("text_files", paths="a.txt"),)
    wrong = config_flags.override(config, {"optimizer.name": "adamw"}).optimizer
    message = (
        "lamb has no option 'name'.*; another variant is chosen by its field alone, such as --config.optimizer=adamw"
    )
    with pytest.raises(ConfigError, match=message):
        load("bert_jax.training.optimizers", wrong)

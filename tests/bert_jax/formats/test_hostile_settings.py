"""A config.json whose settings have any types or sizes is an encoder or one clear line, for every family."""

import json
import random
import typing

import pytest

from benchmarks.attacking import hostile
from bert_jax.config import Model
from bert_jax.formats import family as families
from bert_jax.formats import folder, huggingface, sentence_transformers
from configuration.foreign import FormatError
from configuration.variants import ConfigError, names, use

FAMILIES = names("bert_jax.formats.families")
TINY = {"vocab_size": 101, "layers": 4, "width": 24, "heads": 3, "mlp_width": 48, "max_length": 40}
ENCODERS = [
    Model(**TINY),
    Model(**TINY, positions=use("functional_relative")),
    Model(**TINY, positions=use("rotary")),
    Model(**TINY, positions=use("bucketed")),
    Model(**TINY, token_types=0),
    Model(**TINY, token_types=0, positions=use("bucketed")),
    Model(**TINY, task_types=3),
    Model(**TINY, embedding_width=8),
    Model(**TINY, embedding_width=8, sharing="all"),
    Model(**TINY, positions=use("disentangled")),
    Model(**TINY, token_types=0, norm="pre", gated=True, biases=False, positions=use("rotary"), norm_epsilon=1e-5),
]


def settings_of(name: str) -> dict:
    """What a family writes of the first encoder that it expresses."""
    family = families.load(name)
    for model in ENCODERS:
        try:
            settings = family.settings(model, family.special_ids)
            families.check_expresses(family, name, model, settings)
        except ConfigError:
            continue
        return settings | {"model_type": name, "architectures": ["x"]}
    raise AssertionError(f"no encoder for {name}")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_value_in_every_place(tmp_path, name):
    settings, chance = settings_of(name), random.Random(name)
    cases = [settings | {field: value} for field in families.Known.__annotations__ for value in hostile.VALUES]
    cases += [hostile.spoil(settings, chance) for _ in range(300)]
    understood = 0
    for case in chance.sample(cases, 250):
        (tmp_path / "config.json").write_bytes(hostile.dumps(case))
        try:
            understood += isinstance(huggingface.read_model(tmp_path), Model)
        except ConfigError as error:
            assert "\n" not in str(error)  # noqa: PT017
    (tmp_path / "config.json").write_bytes(hostile.dumps(settings))
    assert isinstance(huggingface.read_model(tmp_path), Model)
    assert 0 < understood < 250


@pytest.mark.parametrize(("field", "value"), [("architectures", 3), ("attention_probs_dropout_prob", [0.1]),
                                              ("num_hidden_layers", 10**12), ("hidden_size", "24")])  # fmt: skip
def test_the_line_names_file_and_field(tmp_path, field, value):
    (tmp_path / "config.json").write_text(json.dumps(settings_of("bert") | {field: value}))
    with pytest.raises(FormatError, match=rf"config.json is damaged: {field}: "):
        huggingface.read(tmp_path)


def test_every_setting_that_a_family_writes_is_of_its_type():
    for name in FAMILIES:
        huggingface.foreign.check_types(families.Known, settings_of(name), name)


def test_a_pattern_of_layers_is_found_in_time(tmp_path):
    kinds = ["full_attention" if i in (0, 5, 7) else "sliding_attention" for i in range(100_000)]
    settings = {"model_type": "modernbert", "num_hidden_layers": len(kinds), "layer_types": kinds}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FormatError, match="layer_types"):
        huggingface.read_model(tmp_path)


STEPS: list[typing.Any] = [
    {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def test_what_sentence_transformers_writes_is_read_or_refused(tmp_path):
    chance = random.Random(0)
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"pooling_mode": "mean", "include_prompt": True}
    for _ in range(300):
        steps, said = (hostile.spoil(tree, chance) if chance.random() < 0.5 else tree for tree in (STEPS, pooling))
        for file, content in (("modules.json", steps), ("1_Pooling/config.json", said)):
            (tmp_path / file).write_bytes(hostile.dumps(content))
        (tmp_path / "sentence_bert_config.json").write_bytes(hostile.dumps({"max_seq_length": hostile.value(chance)}))
        try:
            sentence_transformers.read(tmp_path)
        except FormatError as error:
            assert str(tmp_path) in str(error)  # noqa: PT017


def test_a_damaged_configuration_of_ours_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "x", "phases": [], "data": {"tokenize2": 1}}')
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match=rf"{tmp_path}/config.json: "):
        folder.read_model(tmp_path)

"""Every shipped configuration is checked, built abstractly, and counted against PyTorch."""

from pathlib import Path

import jax
import pytest

from bert_jax import config_flags
from bert_jax.config import Config
from bert_jax.modeling import bert
from bert_jax.sharding import check, make_mesh
from bert_jax.train_state import abstract_state
from bert_jax.variants import load, module

FILES = sorted((Path(__file__).parents[1] / "configs").glob("*.py"))
NAMES = [path.stem for path in FILES]


def read(name: str) -> Config:
    return config_flags.read(str(FILES[NAMES.index(name)]))


@pytest.mark.parametrize("name", NAMES)
def test_config_builds_abstractly(name: str) -> None:
    config = read(name)
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    check(config, mesh)
    state = abstract_state(config, mesh)
    assert bert.count_parameters(config.model) <= sum(x.size for x in jax.tree.leaves(state["params"]))
    assert all(x.sharding is not None for x in jax.tree.leaves(state))


@pytest.mark.parametrize("name", NAMES)
def test_config_names_variants_that_exist(name: str) -> None:
    config = read(name)
    for source in config.data.sources:
        load("data_pipeline.sources", source)
    load("data_pipeline.tokenizers", config.data.tokenizer)
    module("data_pipeline.sentences", config.data.sentences.name)
    module("data_pipeline.rows", config.data.rows.name)
    module("data_pipeline.words", config.data.words.name)
    for rule in config.data.cleaning:
        load("data_pipeline.cleaning", rule)
    load("bert_jax.objectives", config.objective)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_config_opens_with_its_name_command_and_expectation(path: Path) -> None:
    config = config_flags.read(str(path))
    document = path.read_text().split('"""')[1]
    assert config.name == path.stem
    assert f"--config=configs/{path.name}" in document
    assert "Source:" in document
    assert "Expected:" in document


@pytest.mark.torch
@pytest.mark.parametrize("name", ["bert_base", "bert_large"])
def test_parameters_as_many_as_pytorchs(name: str) -> None:
    """The encoder with its pooler and masked-language-model head, to the last bias."""
    import torch
    import transformers

    model = read(name).model
    settings = transformers.BertConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.width,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        intermediate_size=model.mlp_width,
    )
    with torch.device("meta"):
        pretraining = transformers.BertForPreTraining(settings)
    pair_head = sum(p.numel() for p in pretraining.cls.seq_relationship.parameters())
    assert bert.count_parameters(model) == pretraining.num_parameters() - pair_head
    bare = sum(p.numel() for p in pretraining.bert.parameters())
    assert round(bare / 1e6) == {"bert_base": 109, "bert_large": 335}[name]

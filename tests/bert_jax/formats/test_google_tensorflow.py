"""Google's checkpoints, written here by TensorFlow from a random PyTorch model."""

import json
import shutil

import jax
import numpy as np
import pytest
import tensorflow as tf
import torch_reference as reference
import transformers

import bert_jax
from bert_jax.modeling.heads import pair_head
from configuration.foreign import FormatError

pytestmark = pytest.mark.torch
SETTINGS = {
    "vocab_size": 101,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 41,
    "type_vocab_size": 2,
}


def google(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """A PyTorch weight under the name and in the layout that Google's code gives it."""
    name = name.replace(".", "/").replace("layer/", "layer_")
    name = name.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
    if name.endswith("_embeddings/weight"):
        return name.removesuffix("/weight"), tensor
    if name.startswith("cls/seq_relationship"):
        return name.replace("/weight", "/output_weights").replace("/bias", "/output_bias"), tensor
    if name == "cls/predictions/bias":
        return "cls/predictions/output_bias", tensor
    return (name.replace("/weight", "/kernel"), tensor.T) if name.endswith("/weight") else (name, tensor)


def google_albert(name: str, tensor: np.ndarray) -> tuple[str, np.ndarray]:
    """As `google`, of ALBERT: its names are BERT's with other parts in the middle."""
    layer = "bert/encoder/transformer/group_{}/inner_group_0"
    parts = name.split(".")
    if name.startswith("albert.encoder.albert_layer_groups"):
        place = {
            "attention.query": "attention_1/self/query",
            "attention.key": "attention_1/self/key",
            "attention.value": "attention_1/self/value",
            "attention.dense": "attention_1/output/dense",
            "attention.LayerNorm": "LayerNorm",
            "ffn": "ffn_1/intermediate/dense",
            "ffn_output": "ffn_1/intermediate/output/dense",
            "full_layer_layer_norm": "LayerNorm_1",
        }[".".join(parts[6:-1])]
        kinds = ("gamma", "beta") if "LayerNorm" in place else ("kernel", "bias")
        full = f"{layer.format(parts[3])}/{place}/{kinds[parts[-1] == 'bias']}"
        return full, tensor.T if full.endswith("kernel") else tensor
    for old, new in (
        ("albert.pooler", "bert.pooler.dense"),
        ("albert", "bert"),
        ("predictions.bias", "cls.predictions.bias"),
        ("predictions", "cls.predictions.transform"),
        ("sop_classifier.classifier", "cls.seq_relationship"),
    ):
        if name.startswith(old):
            return google(new + name.removeprefix(old), tensor)
    raise AssertionError(name)


def write(folder, variables, settings=SETTINGS):
    """A folder as Google's zip files hold it, with what training leaves behind."""
    first = next(iter(variables))
    variables = variables | {f"{first}/adam_m": variables[first], "global_step": np.int64(7)}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        placed = [tf.compat.v1.get_variable(name, initializer=value) for name, value in variables.items()]
        session.run([variable.initializer for variable in placed])
        tf.compat.v1.train.Saver(placed).save(session, str(folder / "bert_model.ckpt"))
    (folder / "checkpoint").unlink()
    (folder / "bert_config.json").write_text(json.dumps(settings | {"hidden_act": "gelu"}))


@pytest.fixture(scope="module")
def pytorch():
    # What Google calls gelu, PyTorch calls gelu_new.
    return reference.random_model(
        transformers.BertForPreTraining, transformers.BertConfig(**SETTINGS, hidden_act="gelu_new"), 0
    )


@pytest.fixture(scope="module")
def variables(pytorch):
    return dict(google(name, parameter.detach().numpy()) for name, parameter in pytorch.named_parameters())


@pytest.fixture(scope="module")
def rows():
    return reference.random_rows(np.random.default_rng(0), 3, 37, 101, 2)


def test_it_computes_the_same_as_pytorch(tmp_path, pytorch, variables, rows):
    write(tmp_path, variables)
    encoder = bert_jax.load(tmp_path)
    assert encoder.config.activation == "gelu_tanh"
    said = reference.run(pytorch, rows)
    reference.assert_same(encoder, said, rows, every_layer=True)
    pooled = encoder(rows.tokens, rows.mask, rows.types)["pooled"]
    pair = pair_head.logits(encoder.config, encoder.params, pooled)
    assert reference.distance(pair, said["seq_relationship_logits"]) <= 1e-5


@pytest.mark.parametrize(("groups", "hub"), [(1, "module/"), (2, "")])
def test_albert_computes_the_same_as_pytorch(tmp_path, rows, groups, hub):
    settings = SETTINGS | {"embedding_size": 9, "num_hidden_groups": groups, "inner_group_num": 1}
    config = transformers.AlbertConfig(**settings, hidden_act="gelu_new")
    pytorch = reference.random_model(transformers.AlbertForPreTraining, config, 0)
    named = dict(google_albert(name, parameter.detach().numpy()) for name, parameter in pytorch.named_parameters())
    write(tmp_path, {hub + name: value for name, value in named.items()}, settings)
    encoder = bert_jax.load(tmp_path)
    assert encoder.config.sharing == ("none" if groups == 2 else "all")
    assert "pair_head" in encoder.params
    reference.assert_same(encoder, reference.run(pytorch, rows), rows, every_layer=True)


def test_nezha_has_no_position_table(tmp_path, variables, rows):
    relative = {name: value for name, value in variables.items() if "position" not in name}
    write(tmp_path, relative, SETTINGS | {"use_relative_position": True})
    encoder = bert_jax.load(tmp_path)
    assert encoder.config.positions.options == {"max_distance": 64}
    assert "position" not in encoder.params["embeddings"]
    assert np.isfinite(encoder(rows.tokens, rows.mask, rows.types)["logits"]).all()


def test_every_wrong_variable_is_listed(tmp_path, variables):
    wrong = dict(variables)
    del wrong["bert/encoder/layer_1/output/dense/bias"]
    wrong["bert/embeddings/position_embeddings"] = np.zeros((40, 24), np.float32)
    wrong["output_weights"] = np.zeros((2, 24), np.float32)
    write(tmp_path, wrong)
    with pytest.raises(FormatError) as error:
        bert_jax.load(tmp_path)
    assert "missing: bert/encoder/layer_1/output/dense/bias; unknown: output_weights; misshapen: " in str(error.value)
    assert "bert/embeddings/position_embeddings [40, 24] instead of [41, 24]" in str(error.value)


def test_a_damaged_or_doubled_checkpoint_is_one_clear_line(tmp_path, variables):
    write(tmp_path, variables)
    shutil.copy(tmp_path / "bert_model.ckpt.index", tmp_path / "other.ckpt.index")
    with pytest.raises(FormatError, match=r"one file \*\.index; it has bert_model\.ckpt\.index, other\.ckpt\.index"):
        bert_jax.load(tmp_path)
    (tmp_path / "other.ckpt.index").unlink()
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read as a TensorFlow checkpoint"):
        bert_jax.load(tmp_path)


def test_reading_keeps_every_bit(tmp_path, variables):
    write(tmp_path, variables)
    params = bert_jax.load(tmp_path).params
    kernel = np.asarray(params["layers"]["attention"]["query"]["kernel"][1]).reshape(24, 24)
    np.testing.assert_array_equal(kernel, variables["bert/encoder/layer_1/attention/self/query/kernel"])
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))

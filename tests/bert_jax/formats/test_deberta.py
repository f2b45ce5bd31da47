"""DeBERTa-v2 and v3 against the library transformers, in both directions, with gradients."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch_reference as reference
import transformers
from hypothesis import given
from hypothesis import strategies as st

import bert_jax
from bert_jax.formats import family as families
from bert_jax.formats import huggingface, table, weights
from bert_jax.modeling import bert
from bert_jax.modeling.heads import choice_head, mlm_head, pooler, sequence_head, span_head, token_head
from bert_jax.modeling.positions.disentangled import row_of
from configuration.foreign import FormatError

pytestmark = pytest.mark.torch
SMALL = {
    "vocab_size": 101,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 41,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "relative_attention": True,
    "position_biased_input": False,
    "position_buckets": 6,
    "max_relative_positions": 20,  # rows of 37 tokens reach both ends of the table
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
}
KINDS = [transformers.DebertaV2Model, transformers.DebertaV2ForMaskedLM]


@st.composite
def architectures(draw) -> dict:
    """A small, odd one."""
    architecture = draw(reference.architectures())
    del architecture["max_position_embeddings"]  # which max_relative_positions follows
    return (
        SMALL
        | architecture
        | {
            "type_vocab_size": draw(st.sampled_from([0, 2])),
            "position_buckets": draw(st.sampled_from([-1, 2, 7, 16])),
            "max_relative_positions": draw(st.sampled_from([-1, 11, 30])),
            "share_att_key": draw(st.booleans()),
            "pos_att_type": draw(st.sampled_from([["p2c", "c2p"], ["c2p"], ["p2c"]])),
            "norm_rel_ebd": draw(st.sampled_from(["layer_norm", "none"])),
        }
    )


def saved(tmp_path_factory, kind, architecture=SMALL, seed=0):
    """A random PyTorch model and the folder it was saved in."""
    model = reference.random_model(kind, transformers.DebertaV2Config(**architecture), seed)
    folder = tmp_path_factory.mktemp("theirs")
    model.save_pretrained(folder)
    return model, folder


def rows_for(architecture=SMALL, seed=0):
    types = max(1, architecture.get("type_vocab_size", 0))
    return reference.random_rows(np.random.default_rng(seed), 3, 37, architecture["vocab_size"], types)


@pytest.mark.parametrize("kind", KINDS)
@reference.a_few_examples
@given(architecture=architectures(), seed=st.integers(0, 99))
def test_theirs_is_ours_and_comes_back_bit_for_bit(tmp_path_factory, kind, architecture, seed):
    model, folder = saved(tmp_path_factory, kind, architecture, seed)
    encoder, rows = bert_jax.load(folder), rows_for(architecture, seed)
    reference.assert_same(encoder, reference.run(model, rows), rows)
    back = tmp_path_factory.mktemp("back")
    huggingface.write(encoder.config, encoder.params, back)
    content = json.loads((back / "config.json").read_text())
    assert (content["model_type"], content["architectures"]) == ("deberta-v2", [kind.__name__])
    ours, theirs = weights.read(back), weights.read(folder)
    assert ours.keys() == theirs.keys()
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    again, report = kind.from_pretrained(back, output_loading_info=True)
    assert not any(report.values())
    reference.assert_same(encoder, reference.run(again.eval(), rows), rows)


@pytest.mark.parametrize("buckets", [6, -1])
@pytest.mark.parametrize("share", [True, False])
def test_every_layer_of_rows_that_reach_both_ends_of_the_table(tmp_path_factory, share, buckets):
    change = {"share_att_key": share, "position_buckets": buckets}
    model, folder = saved(tmp_path_factory, transformers.DebertaV2ForMaskedLM, SMALL | change)
    side = buckets if buckets > 0 else 20
    assert {0, 2 * side - 1} <= set(row_of(np.arange(-36, 37), max(0, buckets), 20).tolist())
    rows = reference.random_rows(np.random.default_rng(1), 2, 37, 101, 1)
    whole = reference.Rows(np.where(rows.mask, rows.tokens, 7), np.ones_like(rows.mask), rows.types)
    for shown in (rows, whole):
        reference.assert_same(bert_jax.load(folder), reference.run(model, shown), shown, every_layer=True)


@pytest.mark.parametrize(
    "change", [{}, {"share_att_key": False, "norm_rel_ebd": "none"}, {"pos_att_type": ["p2c"]}], ids=str
)
def test_gradients_are_those_of_pytorch(tmp_path_factory, change):
    model, folder = saved(tmp_path_factory, transformers.DebertaV2ForMaskedLM, SMALL | change)
    rows = rows_for()
    labels = np.where(rows.mask > 0, (rows.tokens * 7) % 101, -100)
    tokens, mask = torch.tensor(rows.tokens), torch.tensor(rows.mask)
    theirs = model(tokens, attention_mask=mask, labels=torch.tensor(labels)).loss
    theirs.backward()

    config, params = huggingface.read(folder)
    places = np.tile(np.arange(37), (3, 1))
    batch = {"tokens": rows.tokens, "segments": rows.mask, "positions": places, "token_types": rows.types}

    def loss(params):
        logits = jax.nn.log_softmax(mlm_head.logits(config, params, bert.encode(config, params, batch)))
        picked = jnp.take_along_axis(logits, np.maximum(labels, 0)[..., None], -1)[..., 0]
        return -(picked * (labels >= 0)).sum() / (labels >= 0).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert abs(value - theirs.item()) <= 1e-5 * theirs.item()
    settings = json.loads((folder / "config.json").read_text())
    ours = table.export(families.load("deberta-v2").all_rules(config, settings, {"mlm_head"}), config, gradients)
    wanted = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    assert ours.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.abs(array).max() > 0, name
        np.testing.assert_allclose(ours[name], array, atol=1e-5 * np.abs(array).max() + 1e-7, rtol=0, err_msg=name)


def test_the_head_under_its_authors_names(tmp_path_factory):
    model, folder = saved(tmp_path_factory, transformers.DebertaV2ForMaskedLM, SMALL | {"legacy": False})
    encoder, rows = bert_jax.load(folder), rows_for()
    reference.assert_same(encoder, reference.run(model, rows), rows)
    huggingface.write(encoder.config, encoder.params, back := tmp_path_factory.mktemp("back"))
    again, report = transformers.AutoModelForMaskedLM.from_pretrained(back, output_loading_info=True)
    assert again.config.legacy
    assert not any(report.values())
    reference.assert_same(encoder, reference.run(again.eval(), rows), rows)


def test_a_folder_as_its_authors_released_it(tmp_path_factory):
    """Terms in one string, no `legacy`, a discriminator's head and positions that nothing reads."""
    model, folder = saved(tmp_path_factory, transformers.DebertaV2ForMaskedLM, SMALL | {"legacy": False})
    content = json.loads((folder / "config.json").read_text())
    for name in ("legacy", "architectures", "pooler_hidden_act"):
        del content[name]
    released = {"pos_att_type": "p2c|c2p", "pooler_dropout": 0, "max_relative_positions": -1}
    (folder / "config.json").write_text(json.dumps(content | released | {"max_position_embeddings": 20}))
    tensors = dict(weights.read(folder))
    tensors["mask_predictions.dense.weight"] = np.ones((24, 24), np.float32)
    tensors["deberta.embeddings.position_embeddings.weight"] = np.ones((41, 24), np.float32)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    weights.write_safetensors(folder / "model.safetensors", tensors, {})
    rows = rows_for()
    reference.assert_same(bert_jax.load(folder), reference.run(model, rows), rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_attention": False}, "relative_attention=False in config.json is not supported; only True is"),
        ({"position_biased_input": True}, "position_biased_input=True in config.json is not supported; only False is"),
        ({"conv_kernel_size": 3}, "conv_kernel_size=3 in config.json is not supported; only 0 is"),
        ({"embedding_size": 12}, "embedding_size=12 in config.json is not supported; only 24 is"),
        ({"z_steps": 2}, "z_steps=2 in config.json is not supported; only 0 is"),
        ({"attention_head_size": 4}, "attention_head_size=4 in config.json is not supported; only 8 is"),
        ({"pos_att_type": None}, r"pos_att_type=\[\] in config.json must hold one or both of c2p, p2c"),
        ({"pos_att_type": ["c2p", "p2p"]}, "pos_att_type=.*p2p"),
    ],
    ids=str,
)
def test_what_this_encoder_lacks_is_refused(tmp_path_factory, change, message):
    _, folder = saved(tmp_path_factory, transformers.DebertaV2Model)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(FormatError, match=message):
        bert_jax.load(folder)


HEADS = {
    "SequenceClassification": sequence_head,
    "MultipleChoice": choice_head,
    "TokenClassification": token_head,
    "QuestionAnswering": span_head,
}


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_of_tasks(tmp_path_factory, name):
    kind, head = getattr(transformers, f"DebertaV2For{name}"), HEADS[name]
    pooled = head in (sequence_head, choice_head)
    model, folder = saved(tmp_path_factory, kind, SMALL | {"pooler_hidden_act": "tanh"})
    encoder, rows = bert_jax.load(folder), rows_for()
    shown = reference.Rows(*(x[None] for x in (rows.tokens, rows.mask, rows.types))) if head is choice_head else rows
    said = reference.run(model, shown)
    hidden = encoder(rows.tokens, rows.mask, rows.types)["hidden"]
    read = pooler.pool(encoder.config, encoder.params, hidden) if pooled else hidden
    logits = head.logits(encoder.config, encoder.params, read)
    if head is choice_head:
        wanted = said["logits"][0]
    else:
        wanted = np.stack([said["start_logits"], said["end_logits"]], -1) if head is span_head else said["logits"]
    assert reference.distance(logits, wanted, None if pooled else rows.mask) <= reference.TOLERANCE
    huggingface.write(encoder.config, encoder.params, back := tmp_path_factory.mktemp("back"))
    ours, theirs = weights.read(back), weights.read(folder)
    assert ours.keys() == theirs.keys()
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    assert not any(kind.from_pretrained(back, output_loading_info=True)[1].values())


def test_a_pooler_with_another_activation_is_refused(tmp_path_factory):
    _, folder = saved(tmp_path_factory, transformers.DebertaV2ForSequenceClassification)
    with pytest.raises(FormatError, match=r"pooler_hidden_act='gelu' in config.json is not supported; only 'tanh' is"):
        bert_jax.load(folder)

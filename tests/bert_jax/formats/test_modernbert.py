"""ModernBERT, with windows and without, against the library transformers, in both directions."""

import json

import numpy as np
import pytest
import torch
import torch_reference as reference
import transformers
from hypothesis import given
from hypothesis import strategies as st

import bert_jax
from bert_jax.formats import huggingface, weights
from bert_jax.modeling.choice import choose, request_for
from configuration.foreign import FormatError

pytestmark = pytest.mark.torch
SMALL = {
    "vocab_size": 101,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 41,
    "global_attn_every_n_layers": 1,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "cls_token_id": 2,
    "eos_token_id": 3,
    "sep_token_id": 3,
}


@st.composite
def architectures(draw) -> dict:
    """A small, odd one."""
    heads, biases = draw(st.sampled_from([1, 2, 3, 5])), draw(st.booleans())
    activation = draw(st.sampled_from(["gelu", "gelu_new", "silu"]))
    return SMALL | {
        "vocab_size": draw(st.sampled_from([101, 128, 131])),
        "num_hidden_layers": draw(st.integers(1, 5)),
        "local_attention": draw(st.sampled_from([2, 7, 16, 128])),
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.sampled_from([4, 8, 14])),
        "intermediate_size": draw(st.sampled_from([7, 48])),
        "norm_eps": draw(st.sampled_from([1e-12, 1e-5])),
        "hidden_activation": activation,
        "classifier_activation": activation,
        "global_rope_theta": draw(st.sampled_from([500.0, 10_000.0, 160_000.0])),
        "local_rope_theta": draw(st.sampled_from([100.0, 10_000.0])),
        **dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), biases),
    }


def random_model(kind, architecture: dict, seed: int):
    """Their model, every parameter random."""
    config = transformers.ModernBertConfig(**architecture)
    return reference.random_model(kind, config, seed)


@pytest.mark.parametrize("pattern", ["G", "L", "GL", "GLL", "GLLLLL"])  # of global and local layers
@reference.a_few_examples
@given(architecture=architectures(), bare=st.booleans(), seed=st.integers(0, 99))
def test_theirs_is_ours_and_comes_back_bit_for_bit(tmp_path_factory, pattern, architecture, bare, seed):
    kinds = {"G": "full_attention", "L": "sliding_attention"}
    places = range(architecture["num_hidden_layers"])
    architecture = architecture | {"layer_types": [kinds[pattern[i % len(pattern)]] for i in places]}
    folder, back = tmp_path_factory.mktemp("theirs"), tmp_path_factory.mktemp("back")
    kind = transformers.ModernBertModel if bare else transformers.ModernBertForMaskedLM
    model = random_model(kind, architecture, seed)
    model.save_pretrained(folder)
    encoder = bert_jax.load(folder)
    rows = reference.random_rows(np.random.default_rng(seed), 3, 37, architecture["vocab_size"], 1)
    reference.assert_same(encoder, reference.run(model, rows), rows)
    huggingface.write(encoder.config, encoder.params, back, special_ids={"pad_token_id": 0})
    content = json.loads((back / "config.json").read_text())
    assert (content["model_type"], content["architectures"]) == ("modernbert", [kind.__name__])
    ours, theirs = weights.read(back), weights.read(folder)
    assert ours.keys() == theirs.keys()
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    again, report = kind.from_pretrained(back, output_loading_info=True)
    assert not any(report.values())
    reference.assert_same(encoder, reference.run(again.eval(), rows), rows)


@pytest.mark.parametrize("local", [90.0, None])  # null is for the base of global layers
def test_a_file_of_an_older_version_says_the_same(tmp_path, local):
    change = {"global_rope_theta": 700.0, "local_rope_theta": local or 700.0, "global_attn_every_n_layers": 2}
    model = random_model(transformers.ModernBertForMaskedLM, SMALL | change | {"local_attention": 10}, 0)
    model.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    for name in ("rope_parameters", "layer_types"):
        del content[name]
    content |= {"global_rope_theta": 700.0, "local_rope_theta": local, "global_attn_every_n_layers": 2}
    (tmp_path / "config.json").write_text(json.dumps(content))
    rows = reference.random_rows(np.random.default_rng(0), 3, 37, 101, 1)
    reference.assert_same(bert_jax.load(tmp_path), reference.run(model, rows), rows)


@pytest.mark.parametrize("every", [2, 3])
def test_long_rows_with_a_short_window(tmp_path, every):
    """The kernel of blocks serves the local layers."""
    change = {"global_attn_every_n_layers": every, "local_attention": 32, "max_position_embeddings": 300}
    model = random_model(transformers.ModernBertForMaskedLM, SMALL | change | {"num_hidden_layers": 4}, every)
    model.save_pretrained(tmp_path)
    encoder = bert_jax.load(tmp_path)
    assert encoder.config.pattern == (False, True, True)[:every]
    assert choose(encoder.config, request_for(encoder.config, 300, False, local=True)).name == "blocks"
    rows = reference.random_rows(np.random.default_rng(0), 3, 300, 101, 1)
    reference.assert_same(encoder, reference.run(model, rows), rows, every_layer=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_types": ["sliding_attention"] * 2 + ["full_attention"]}, "layer_types=.*full_attention"),
        ({"global_attn_every_n_layers": 3, "local_attention": 1}, "local layers with a window=False"),
        ({"mlp_bias": True}, "mlp_bias=True .* has False there"),
        ({"decoder_bias": False}, "decoder_bias=False"),
        ({"classifier_activation": "silu"}, "classifier_activation='silu'"),
    ],
    ids=str,
)
def test_what_this_encoder_lacks_is_refused(tmp_path, change, message):
    transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**SMALL | change)).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match=message):
        bert_jax.load(tmp_path)


def test_output_weights_of_their_own_are_refused(tmp_path):
    config = transformers.ModernBertConfig(**SMALL, tie_word_embeddings=False)
    reference.random_model(transformers.ModernBertForMaskedLM, config, 0).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match=r"decoder\.weight of .* differs from"):
        bert_jax.load(tmp_path)


def test_what_pytorch_trains_is_all_of_it(tmp_path):
    """Every parameter that is exported takes part: none is left at the value that a class starts it with."""
    random_model(transformers.ModernBertForMaskedLM, SMALL, 1).save_pretrained(tmp_path)
    encoder = bert_jax.load(tmp_path)
    huggingface.write(encoder.config, encoder.params, tmp_path)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    tokens = torch.arange(30).reshape(2, 15) + 4
    model(tokens, labels=tokens).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())

"""Our own layout: every encoder, opened by today's transformers with the modelling file that the folder carries."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import torch_reference as reference
import transformers
from hypothesis import given
from hypothesis import strategies as st

import bert_jax
from bert_jax.config import Model
from bert_jax.formats import huggingface, weights
from bert_jax.formats.families.bert_jax import CLASSES
from bert_jax.formats.family import plain
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import discriminator_head
from configuration.foreign import FormatError
from configuration.variants import use

pytestmark = pytest.mark.torch
SMALL = {"vocab_size": 101, "layers": 2, "width": 24, "heads": 3, "mlp_width": 20, "max_length": 40}


@st.composite
def models(draw) -> Model:
    """Any small, odd encoder."""
    heads, layers = draw(st.sampled_from([1, 2, 3, 5])), draw(st.sampled_from([1, 2, 4]))
    sharing = draw(st.sampled_from(["none", "all", "attention", "mlp"]))
    window = draw(st.sampled_from([0, 3]))
    rotary = use("rotary", base=500.0, local_base=20.0 if window else 0.0)
    positions = [use("absolute"), rotary, use("functional_relative", max_distance=5)]
    return Model(
        vocab_size=draw(st.sampled_from([101, 128, 131])),
        layers=layers,
        width=heads * draw(st.sampled_from([4, 8, 14])),
        heads=heads,
        mlp_width=draw(st.sampled_from([7, 48])),
        max_length=draw(st.sampled_from([41, 64])),
        token_types=draw(st.sampled_from([0, 1, 2, 3])),
        window=window,
        global_every=draw(st.sampled_from([0, 2, 3])) if window else 1,
        positions=draw(st.sampled_from(positions)),
        norm=draw(st.sampled_from(["pre", "post"])),
        norm_epsilon=draw(st.sampled_from([1e-12, 1e-5])),
        task_types=draw(st.sampled_from([0, 2])),
        activation=draw(st.sampled_from(["gelu", "gelu_tanh", "silu", "relu"])),
        gated=draw(st.booleans()),
        biases=draw(st.booleans()),
        embedding_width=draw(st.sampled_from([0, 9])),
        sharing=sharing,
        groups=1 if sharing == "none" else draw(st.sampled_from([1, layers])),
    )


HEADS = ("mlm_head",), ("mlm_head", "pooler"), ("mlm_head", "pooler", "pair_head")


def written(folder, model: Model, family: str = "bert_jax", trained=HEADS[0]) -> None:
    """A random encoder in a folder."""
    folder.mkdir(exist_ok=True)
    huggingface.write(model, random_params(model, trained), folder, family)


def random_params(model: Model, trained=HEADS[0]) -> dict:
    rng = np.random.default_rng(0)
    draw = lambda path, x: (path[-1].key == "scale") + rng.normal(0, 0.15, x.shape).astype(np.float32)
    return jax.tree_util.tree_map_with_path(draw, bert.abstract_params(model, heads.parts(model, *trained)))


@reference.a_few_examples
@given(model=models(), trained=st.sampled_from(HEADS), seed=st.integers(0, 99))
def test_every_encoder_computes_the_same_there_and_comes_back_bit_for_bit(tmp_path_factory, model, trained, seed):
    folder, back = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("back")
    written(folder, model, trained=trained)
    encoder = bert_jax.load(folder)
    assert encoder.config == model
    auto = transformers.AutoModelForPreTraining if "pair_head" in trained else transformers.AutoModelForMaskedLM
    theirs, report = auto.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values())
    assert type(theirs).__module__.endswith("modeling_bert_jax")
    rows = reference.random_rows(np.random.default_rng(seed), 3, 37, model.vocab_size, max(1, model.token_types))
    reference.assert_same(encoder, reference.run(theirs.eval(), rows), rows)
    theirs.save_pretrained(back)
    ours, again = weights.read(folder), weights.read(back)
    assert ours.keys() == again.keys()
    assert all(array.tobytes() == again[name].tobytes() for name, array in ours.items())


def test_the_discriminator_of_electra_judges_and_trains_the_same_there(tmp_path):
    """Its loss is the mean over all tokens but padding, as that of ElectraForPreTraining."""
    model = Model(**SMALL, norm="pre", gated=True, positions=use("rotary"), token_types=0, activation="silu")
    written(tmp_path, model, family="", trained=("discriminator_head",))
    auto = transformers.AutoModelForPreTraining
    theirs, report = auto.from_pretrained(tmp_path, trust_remote_code=True, output_loading_info=True)
    assert not any(report.values())
    assert type(theirs).__name__ == "BertJaxForReplacedTokenDetection"
    rng, encoder = np.random.default_rng(0), bert_jax.load(tmp_path)
    rows = reference.random_rows(rng, 3, 37, 101, 1)
    labels = rng.integers(0, 2, rows.tokens.shape)
    hidden = encoder(rows.tokens, rows.mask)["hidden"]
    logits = np.asarray(discriminator_head.logits(model, encoder.params, hidden), np.float64)
    assert reference.distance(logits, reference.run(theirs.eval(), rows)["logits"], rows.mask) <= reference.TOLERANCE
    tokens, mask, judged = (reference.torch.tensor(x) for x in (rows.tokens, rows.mask, labels))
    loss = theirs(tokens, mask, labels=judged).loss
    wanted = np.logaddexp(0, np.where(labels, -logits, logits))[rows.mask > 0].mean()
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    loss.backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in theirs.parameters())


@pytest.mark.parametrize("auto", ["AutoModel", "AutoModelForMaskedLM", "AutoModelForTokenClassification"])
def test_a_folder_that_transformers_saved_opens_as_every_class(tmp_path, auto):
    written(tmp_path / "ours", Model(**SMALL, norm="pre"), trained=HEADS[1])
    theirs = getattr(transformers, auto).from_pretrained(tmp_path / "ours", trust_remote_code=True)
    theirs.save_pretrained(tmp_path / "again")
    for name in CLASSES.keys() - {"AutoConfig"}:
        kind, options = getattr(transformers, name), {"trust_remote_code": True, "ignore_mismatched_sizes": True}
        opened = kind.from_pretrained(tmp_path / "again", **options)  # another task's head may have another size
        assert type(opened).__name__ == CLASSES[name]


def test_every_layer_computes_the_same(tmp_path):
    model = Model(**SMALL, norm="pre", gated=True, positions=use("rotary"), biases=False)
    written(tmp_path, model, trained=HEADS[1])
    theirs = transformers.AutoModel.from_pretrained(tmp_path, trust_remote_code=True)
    rows = reference.random_rows(np.random.default_rng(0), 3, 37, 101, 2)
    reference.assert_same(bert_jax.load(tmp_path), reference.run(theirs.eval(), rows), rows, every_layer=True)
    tokens = reference.torch.tensor(rows.tokens)
    trainable = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, trust_remote_code=True).train()
    trainable(tokens, labels=tokens).loss.backward()
    without = [name for name, x in trainable.named_parameters() if x.grad is None or not x.grad.abs().max() > 0]
    assert without == ["encoder.pooler.weight"]


@pytest.mark.parametrize(
    ("change", "family"),
    [
        ({}, "bert"),
        ({"activation": "silu"}, "bert"),
        ({"embedding_width": 9}, "electra"),
        ({"embedding_width": 9, "activation": "gelu_tanh"}, "albert"),
        ({"embedding_width": 9, "sharing": "all", "trained": HEADS[2]}, "albert"),
        ({"positions": use("rotary")}, "roformer"),
        ({"positions": use("rotary"), "embedding_width": 9}, "roformer"),
        ({"positions": use("functional_relative", max_distance=4)}, "nezha"),
        ({"sharing": "all"}, "bert_jax"),
        ({"norm": "pre", "gated": True, "positions": use("rotary"), "token_types": 0}, "modernbert"),
        ({"norm": "pre", "gated": True, "positions": use("rotary")}, "bert_jax"),
        (
            {
                "norm": "pre",
                "gated": True,
                "positions": use("rotary"),
                "token_types": 0,
                "window": 4,
                "global_every": 2,
            },
            "modernbert",
        ),
        ({"window": 4, "global_every": 2}, "bert_jax"),
        ({"task_types": 3}, "ernie"),
        ({"task_types": 3, "norm": "pre"}, "bert_jax"),
        ({"token_types": 0}, "distilbert"),
        ({"token_types": 0, "norm_epsilon": 1e-5}, "bert_jax"),
        ({"positions": use("rotary"), "trained": HEADS[1]}, "bert_jax"),
        ({"norm": "pre", "positions": use("functional_relative")}, "bert_jax"),
    ],
    ids=str,
)
def test_the_best_known_class_that_expresses_an_encoder_is_taken(tmp_path, change, family):
    model = Model(**SMALL | {name: value for name, value in change.items() if name != "trained"})
    written(tmp_path, model, family="", trained=change.get("trained", HEADS[0]))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == family
    read = huggingface.read(tmp_path)[0]
    assert plain(read.positions) == plain(model.positions)
    assert dataclasses.replace(read, positions=model.positions) == model


def test_the_pair_head_alone_has_no_class(tmp_path):
    model = Model(**SMALL, norm="pre")
    params = random_params(model, ("pooler", "pair_head"))
    with pytest.raises(FormatError, match="the bert_jax layout has no model with the heads pair_head and no other"):
        huggingface.write(model, params, tmp_path)


def test_albert_with_several_layers_in_a_group_is_refused(tmp_path):
    written(tmp_path, Model(**SMALL, embedding_width=9, sharing="all"), "albert")
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"inner_group_num": 2}))
    with pytest.raises(FormatError, match="inner_group_num=2"):
        bert_jax.load(tmp_path)


def test_another_table_of_angles_is_refused(tmp_path):
    written(tmp_path, Model(**SMALL, positions=use("rotary")), "roformer")
    tensors = dict(weights.read(tmp_path))
    tensors["roformer.encoder.embed_positions.weight"] *= 2
    weights.write_safetensors(tmp_path / weights.SAFETENSORS, tensors, {})
    with pytest.raises(FormatError, match=r"embed_positions\.weight of .* is no weight, and not what this encoder has"):
        bert_jax.load(tmp_path)

"""Families of one shape or another of BERT against the library transformers, in both directions."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.torch
import torch
import torch_reference as reference
import transformers
from hypothesis import given
from hypothesis import strategies as st

import bert_jax
from bert_jax.config import Model
from bert_jax.convert import export
from bert_jax.formats import huggingface, weights
from bert_jax.formats.families import distilbert
from bert_jax.formats.table import flatten
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import choice_head, pooler, sequence_head, span_head, token_head
from configuration.foreign import FormatError
from configuration.variants import ConfigError, use

pytestmark = pytest.mark.torch
FAMILIES = {
    "bert": (
        transformers.BertConfig,
        [transformers.BertModel, transformers.BertForMaskedLM, transformers.BertForPreTraining],
    ),
    "roberta": (transformers.RobertaConfig, [transformers.RobertaModel, transformers.RobertaForMaskedLM]),
    "xlm-roberta": (
        transformers.XLMRobertaConfig,
        [transformers.XLMRobertaModel, transformers.XLMRobertaForMaskedLM],
    ),
    "camembert": (transformers.CamembertConfig, [transformers.CamembertModel, transformers.CamembertForMaskedLM]),
    "ernie": (
        transformers.ErnieConfig,
        [transformers.ErnieModel, transformers.ErnieForMaskedLM, transformers.ErnieForPreTraining],
    ),
    "distilbert": (transformers.DistilBertConfig, [transformers.DistilBertModel, transformers.DistilBertForMaskedLM]),
    "mpnet": (transformers.MPNetConfig, [transformers.MPNetModel, transformers.MPNetForMaskedLM]),
    "albert": (
        transformers.AlbertConfig,
        [transformers.AlbertModel, transformers.AlbertForMaskedLM, transformers.AlbertForPreTraining],
    ),
    "roformer": (transformers.RoFormerConfig, [transformers.RoFormerModel, transformers.RoFormerForMaskedLM]),
}
LIKE_ROBERTA = ("roberta", "xlm-roberta", "camembert", "mpnet")
SMALL = {
    "vocab_size": 101,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "hidden_size": 24,
    "intermediate_size": 20,
    "max_position_embeddings": 41,
}


def saved(tmp_path_factory, kind, config, seed=0):
    """A random PyTorch model and the folder it was saved in."""
    model = reference.random_model(kind, config, seed)
    folder = tmp_path_factory.mktemp("pytorch")
    model.save_pretrained(folder)
    return model, folder


def rows_for(config, seed=0, length=37):
    types = getattr(config, "type_vocab_size", 1)  # DistilBERT has none
    return reference.random_rows(np.random.default_rng(seed), 3, length, config.vocab_size, types)


def state(model) -> dict[str, torch.Tensor]:
    """What save_pretrained would write: parameters, without what is tied, and constants."""
    return dict(model.named_parameters())


def fitted(family: str, architecture: dict, seed: int) -> dict:
    """The architecture with what is the family's own."""
    width, layers = architecture["hidden_size"], architecture["num_hidden_layers"]
    if family in LIKE_ROBERTA:
        own = {"hidden_act": "gelu"}  # its head is always of that kind
        return architecture | own | ({"type_vocab_size": 1} if family == "mpnet" else {})
    if family == "ernie":
        tasks = {"use_task_id": seed % 2 == 0, "task_type_vocab_size": 4}
        return architecture | tasks | {"hidden_act": ["relu", "gelu"][seed % 3 % 2]}
    if family == "distilbert":
        names = distilbert.NAMES | dict.fromkeys(("type_vocab_size", "layer_norm_eps"))
        return {names.get(name, name): value for name, value in architecture.items() if names.get(name, name)}
    if family == "albert":
        return architecture | {"embedding_size": [5, 9, width][seed % 3], "num_hidden_groups": [1, layers][seed % 2]}
    return architecture | ({"embedding_size": [None, 9, width][seed % 3]} if family == "roformer" else {})


@pytest.mark.parametrize("family", FAMILIES)
@reference.a_few_examples
@given(architecture=reference.architectures(), which=st.integers(0, 2), seed=st.integers(0, 99))
def test_random_architectures_compute_the_same_and_come_back_bit_for_bit(
    tmp_path_factory, family, architecture, which, seed
):
    config_class, kinds = FAMILIES[family]
    config = config_class(**fitted(family, architecture, seed))
    model, folder = saved(tmp_path_factory, kinds[which % len(kinds)], config, seed)
    encoder = bert_jax.load(folder)
    rows = rows_for(config, seed)
    reference.assert_same(encoder, reference.run(model, rows), rows)

    back = tmp_path_factory.mktemp("exported") / "model"
    export(folder, back)
    again = type(model).from_pretrained(back)
    assert again.config.architectures == [type(model).__name__]
    for name, parameter in state(model).items():
        unread = config.pad_token_id + 1 if family in LIKE_ROBERTA and "position_embeddings" in name else 0
        assert torch.equal(parameter[unread:], state(again)[name][unread:]), name


@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_computes_the_same(tmp_path_factory, family):
    config_class, kinds = FAMILIES[family]
    model, folder = saved(tmp_path_factory, kinds[-1], config_class(**fitted(family, SMALL, 0)))
    rows = rows_for(model.config)
    reference.assert_same(bert_jax.load(folder), reference.run(model, rows), rows, every_layer=True)


def test_a_wrong_layer_is_named(tmp_path_factory):
    model, folder = saved(tmp_path_factory, transformers.BertForMaskedLM, transformers.BertConfig(**SMALL))
    with torch.no_grad():
        model.bert.encoder.layer[1].intermediate.dense.bias += 0.01
    rows = rows_for(model.config)
    with pytest.raises(AssertionError, match="layer 2 of 2 departs"):
        reference.assert_same(bert_jax.load(folder), reference.run(model, rows), rows)


def test_our_own_model_opens_as_auto_model(tmp_path):
    model = Model(vocab_size=101, layers=2, width=12, heads=3, mlp_width=20, max_length=40, activation="gelu_tanh")
    params = bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head"))
    huggingface.write(model, params, tmp_path)
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert isinstance(theirs, transformers.BertForMaskedLM)
    rows = reference.random_rows(np.random.default_rng(0), 2, 37, 101, 2)
    reference.assert_same(bert_jax.load(tmp_path), reference.run(theirs.eval(), rows), rows)


@pytest.mark.parametrize(
    ("pair_head", "mlm_head", "kind"), [(True, True, "PreTraining"), (True, False, "NextSentencePrediction")]
)
def test_the_pair_head_is_the_same(tmp_path, pair_head, mlm_head, kind):
    names = [name for name, there in (("pair_head", pair_head), ("mlm_head", mlm_head)) if there]
    params = bert.init(BASE, jax.random.key(0), heads.parts(BASE, "pooler", *names))
    huggingface.write(BASE, params, tmp_path)
    theirs, report = getattr(transformers, f"BertFor{kind}").from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = dict(flatten(huggingface.read(tmp_path)[1]))
    np.testing.assert_array_equal(theirs.cls.seq_relationship.weight.detach(), ours["pair_head/kernel"].T)
    np.testing.assert_array_equal(ours["pair_head/kernel"], params["pair_head"]["kernel"])


# ------------------------------------------------------------------ files as they are found in the wild


@pytest.fixture
def bert_folder(tmp_path_factory):
    return saved(tmp_path_factory, transformers.BertForPreTraining, transformers.BertConfig(**SMALL))


def rewrite(folder, change):
    """Changes the weights of a folder by a function of the dict."""
    tensors = weights.read_safetensors(folder / "model.safetensors")
    change(tensors)
    weights.write_safetensors(
        folder / "model.safetensors", {k: np.ascontiguousarray(v) for k, v in tensors.items()}, {}
    )


def test_old_names_constants_and_a_repeated_decoder(bert_folder):
    model, folder = bert_folder

    def age(tensors):
        for name in [name for name in tensors if "LayerNorm" in name]:
            tensors[name.replace(".weight", ".gamma").replace(".bias", ".beta")] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = np.arange(41)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.bias"] = tensors.pop("cls.predictions.bias")

    rewrite(folder, age)
    rows = rows_for(model.config)
    reference.assert_same(bert_jax.load(folder), reference.run(model, rows), rows)


def test_bin_files_are_read_without_running_them(bert_folder, tmp_path):
    model, folder = bert_folder
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    rows = rows_for(model.config)
    reference.assert_same(bert_jax.load(folder), reference.run(model, rows), rows)

    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"bert.embeddings.word_embeddings.weight": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(FormatError, match="not a plain file of tensors"):
        bert_jax.load(folder)
    assert not (tmp_path / "sprung").exists()


def test_several_files_and_half_precision(bert_folder):
    model, folder = bert_folder
    model = model.to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    rows = rows_for(model.config)
    reference.assert_same(bert_jax.load(folder), reference.run(model.float(), rows), rows)


def test_an_index_may_not_name_files_elsewhere(bert_folder):
    _, folder = bert_folder
    (folder / "model.safetensors").rename(folder.parent / "elsewhere.safetensors")
    index = {"weight_map": {"bert.embeddings.LayerNorm.weight": "../elsewhere.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match=r"'../elsewhere.safetensors', which is not a file beside it"):
        bert_jax.load(folder)


def test_missing_heads_and_pooler_are_none(tmp_path_factory):
    model = reference.random_model(transformers.BertModel, transformers.BertConfig(**SMALL), 0)
    folder = tmp_path_factory.mktemp("bare")
    model.save_pretrained(folder)
    rewrite(folder, lambda tensors: [tensors.pop(f"pooler.dense.{name}") for name in ("weight", "bias")])
    rows = rows_for(model.config)
    encoder = bert_jax.load(folder)
    out = encoder(rows.tokens, rows.mask, rows.types)
    assert out["pooled"] is None
    assert out["logits"] is None
    assert "pooler" not in encoder.params
    assert reference.distance(out["hidden"], reference.run(model, rows)["last_hidden_state"], rows.mask) <= 1e-5


def test_every_wrong_weight_is_listed(bert_folder):
    _, folder = bert_folder

    def spoil(tensors):
        del tensors["bert.encoder.layer.1.output.dense.bias"]
        tensors["bert.encoder.layer.2.output.dense.bias"] = np.zeros(24, np.float32)
        tensors["classifier.weight"] = np.zeros((2, 24), np.float32)
        tensors["bert.embeddings.word_embeddings.weight"] = np.zeros((100, 24), np.float32)

    rewrite(folder, spoil)
    with pytest.raises(FormatError) as error:
        bert_jax.load(folder)
    message = str(error.value)
    assert str(folder) in message
    assert "missing: bert.encoder.layer.1.output.dense.bias;" in message
    assert "unknown: bert.encoder.layer.2.output.dense.bias, classifier.weight;" in message
    assert "misshapen: bert.embeddings.word_embeddings.weight [100, 24] instead of [101, 24]" in message


def test_untied_output_weights_are_refused(bert_folder):
    _, folder = bert_folder
    rewrite(folder, lambda tensors: tensors.update({"cls.predictions.decoder.weight": np.zeros((101, 24), np.float32)}))
    with pytest.raises(FormatError, match=r"decoder[.]weight .* differs from bert[.]embeddings"):
        bert_jax.load(folder)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("is_decoder", True),
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "tanh"),
        ("tie_word_embeddings", False),
    ],
)
def test_encoders_that_this_one_is_not_are_refused(bert_folder, setting, value):
    _, folder = bert_folder
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {setting: value}))
    with pytest.raises(FormatError, match="cls.predictions.decoder" if setting == "tie_word_embeddings" else setting):
        bert_jax.load(folder)


def test_a_cut_file_is_one_clear_error(bert_folder):
    _, folder = bert_folder
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(FormatError, match=r"model\.safetensors cannot be read"):
        bert_jax.load(folder)


# ------------------------------------------------------------------ never as something else

BASE = Model(vocab_size=101, layers=1, width=12, heads=3, mlp_width=20, max_length=40)


@pytest.mark.parametrize(
    ("change", "family", "named"),
    [
        ({"norm": "pre"}, "bert", "model.norm='pre'"),
        ({"positions": use("functional_relative", max_distance=5)}, "bert", "model.positions="),
        ({"sharing": "all"}, "albert", "model.embedding_width=0"),
        ({"embedding_width": 7, "sharing": "attention"}, "albert", "model.sharing='attention'"),
        (
            {"positions": use("rotary"), "trained": ("mlm_head", "pooler")},
            "roformer",
            "no place for the parameters pooler/bias",
        ),
        ({"positions": use("rotary", base=9.0)}, "roformer", "model.positions="),
        ({"positions": use("disentangled"), "norm": "pre"}, "deberta-v2", "model.norm='pre'"),
        ({}, "deberta-v2", "model.positions="),
        ({"gated": True}, "bert", "model.gated=True"),
        ({"biases": False}, "bert", "model.biases=False"),
        ({}, "nezha", "model.positions="),
        ({"activation": "gelu_tanh"}, "roberta", "hidden_act='gelu_new'"),
        ({"task_types": 2}, "bert", "model.task_types=2"),
        ({"activation": "gelu_tanh"}, "xlm-roberta", "hidden_act='gelu_new'"),
        ({}, "distilbert", "the distilbert layout cannot express model.token_types=2"),
        ({"token_types": 0, "norm_epsilon": 1e-5}, "distilbert", "model.norm_epsilon=1e-05"),
        (
            {"token_types": 0, "trained": ("mlm_head", "pooler")},
            "distilbert",
            "no place for the parameters pooler/bias",
        ),
    ],
)
def test_what_a_family_cannot_express_is_refused(tmp_path, change, family, named):
    trained = change.get("trained", ("mlm_head",))
    model = dataclasses.replace(BASE, **{name: value for name, value in change.items() if name != "trained"})
    params = bert.init(model, jax.random.key(0), heads.parts(model, *trained))
    with pytest.raises(FormatError, match=named):
        huggingface.write(model, params, tmp_path, family)
    assert not list(tmp_path.iterdir())


def test_how_a_model_is_trained_does_not_hinder_its_export(tmp_path):
    model = dataclasses.replace(BASE, dtype="bfloat16", remat="full", isolate_documents=False)
    huggingface.write(model, bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head")), tmp_path)
    assert huggingface.read(tmp_path)[0] == BASE


def test_an_unknown_family_names_those_there_are(bert_folder):
    _, folder = bert_folder
    (folder / "config.json").write_text('{"model_type": "berd"}')
    with pytest.raises(ConfigError, match="did you mean 'bert'"):
        bert_jax.load(folder)


def test_the_vocabulary_padding_is_cut_off_and_added_as_zeros(tmp_path):
    params = bert.init(BASE, jax.random.key(0), heads.parts(BASE, "mlm_head"))
    huggingface.write(BASE, params, tmp_path)
    written = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert written["bert.embeddings.word_embeddings.weight"].shape == (101, 12)
    assert written["cls.predictions.bias"].shape == (101,)
    words = huggingface.read(tmp_path)[1]["embeddings"]["word"]["embedding"]
    np.testing.assert_array_equal(words[:101], params["embeddings"]["word"]["embedding"][:101])
    assert words.shape == (128, 12)
    assert not words[101:].any()


@pytest.mark.parametrize("name", ["bert", "roberta", "albert", "camembert", "distilbert", "ernie", "bert_jax"])
@pytest.mark.parametrize("head", ["sequence_head", "token_head", "span_head", "choice_head"])
def test_the_heads_of_tasks_are_the_same_and_come_back_bit_for_bit(tmp_path, name, head):
    if name == "distilbert" and head in ("sequence_head", "choice_head"):
        pytest.skip("its class has another pooler")
    outputs = 2 if head in ("span_head", "choice_head") else 5
    types = 0 if name == "distilbert" else 2
    model = dataclasses.replace(BASE, embedding_width=6 if name == "albert" else 0, token_types=types)
    own = use(head) if head in ("span_head", "choice_head") else use(head, outputs=outputs)
    params = bert.init(model, jax.random.key(1), heads.parts(model, "pooler", own))
    names = {"id2label": {str(i): f"class {i}" for i in range(outputs)}}
    huggingface.write(model, params, tmp_path, name, said=names)
    kinds = {"sequence_head": "SequenceClassification", "token_head": "TokenClassification"}
    kinds |= {"span_head": "QuestionAnswering", "choice_head": "MultipleChoice"}
    kind = getattr(transformers, f"AutoModelFor{kinds[head]}")
    theirs, report = kind.from_pretrained(tmp_path, output_loading_info=True, trust_remote_code=name == "bert_jax")
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    rows = reference.random_rows(np.random.default_rng(0), 2, 37, 101, max(1, types))
    encoder = bert_jax.load(tmp_path)
    read, hidden = encoder.params, encoder(rows.tokens, rows.mask, rows.types)["hidden"]
    shown = reference.Rows(*(x[None] for x in (rows.tokens, rows.mask, rows.types))) if head == "choice_head" else rows
    said = reference.run(theirs.eval(), shown)  # of candidates: both rows are those of one example
    if head == "choice_head":
        logits = choice_head.logits(model, read, pooler.pool(model, read, hidden))
        assert reference.distance(logits, said["logits"][0]) <= reference.TOLERANCE
    elif head == "sequence_head":
        logits = sequence_head.logits(model, read, pooler.pool(model, read, hidden))
        assert reference.distance(logits, said["logits"]) <= reference.TOLERANCE
    else:
        logits = {"token_head": token_head, "span_head": span_head}[head].logits(model, read, hidden)
        wanted = said["logits"] if head == "token_head" else np.stack([said["start_logits"], said["end_logits"]], -1)
        assert reference.distance(logits, wanted, rows.mask) <= reference.TOLERANCE
    for path, array in flatten(read):
        array, given = np.asarray(array), np.asarray(dict(flatten(params))[path])
        number = 101 if path == "embeddings/word/embedding" else None  # the rest is padding, which no folder has
        np.testing.assert_array_equal(array[:number], given[:number], err_msg=path)

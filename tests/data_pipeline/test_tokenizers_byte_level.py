"""Byte-level BPE from a tokenizer.json: the same ids as the library, word by word too."""

import json

import pytest
import tokenizers
from hypothesis import given, settings
from tests.data_pipeline import hostile
from tests.data_pipeline.exported import in_transformers

from configuration.foreign import FormatError
from data_pipeline import checkpoint_tokenizer
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
    return in_transformers(tokenizer, tmp_path_factory.mktemp("exported"))


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


NASTY = [*hostile.EXAMPLES, *(f"{a} {b}" for a in hostile.EXAMPLES[:14] for b in hostile.EXAMPLES[:14])]
NASTY += ["a<mask> b", "<s></s>", "<mask><mask>", " <pad>x", "<unk>", "x <mask>"]


@pytest.mark.parametrize("known", ["as special tokens", "in the vocabulary alone", "beside a checkpoint"])
def test_a_file_that_sets_no_special_tokens_around_a_text(tmp_path, known):
    transformers = pytest.importorskip("transformers")
    library = tokenizers.ByteLevelBPETokenizer()
    library.train_from_iterator(hostile.EXAMPLES, 400, special_tokens=SPECIALS)
    if known == "in the vocabulary alone":  # what `save_model` keeps
        library.save_model(str(tmp_path))
        library = tokenizers.ByteLevelBPETokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    library.save(str(tmp_path / "tokenizer.json"))
    names = dict(zip(("cls", "pad", "sep", "unk", "mask"), SPECIALS, strict=True))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({f"{k}_token": v for k, v in names.items()}))
    if known == "beside a checkpoint":
        tokenizer = checkpoint_tokenizer.read(tmp_path)
    else:
        tokenizer = byte_level.build(dict, file=str(tmp_path / "tokenizer.json"))
    tokenizer.export_huggingface(tmp_path / "exported", max_length=64)
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert len(NASTY) >= 200
    for text in NASTY:
        assert exported(text)["input_ids"] == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
    assert exported("a <mask>")["input_ids"][-2] == tokenizer.mask_id
    pair = exported("a", "b")
    a, b = tokenizer.encode("a"), tokenizer.encode("b")
    assert pair["input_ids"] == [tokenizer.cls_id, *a, tokenizer.sep_id, *b, tokenizer.sep_id]
    assert pair["token_type_ids"] == [0, 0, 0, 1, 1]


def test_a_file_that_is_whole_stays_as_it_is(file, tokenizer):
    assert json.loads(tokenizer.definition) == json.loads(file.read_text())


def test_bad_files(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        byte_level.build(dict, file=str(tmp_path / "none"))
    (tmp_path / "a").write_text("{")
    with pytest.raises(FormatError, match="cannot be read as JSON"):
        byte_level.build(dict, file=str(tmp_path / "a"))
    (tmp_path / "a").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    with pytest.raises(FormatError, match="is no byte-level BPE tokenizer"):
        byte_level.build(dict, file=str(tmp_path / "a"))

"""Tokenizers beside a checkpoint."""

import json
import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

from configuration.foreign import FormatError
from data_pipeline import checkpoint_tokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "old", "mill", "##s", "cafe", "Cafe", "é", "水", ","]
TEXT = "The old mills, Café 水水 [MASK] xyz"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.torch
@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_alone_gives_the_ids_of_transformers(folder, tmp_path, lowercase):
    import transformers

    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": lowercase, "tokenizer_class": "BertTokenizer"})
    )
    (folder / "config.json").write_text('{"model_type": "bert"}')
    ours = checkpoint_tokenizer.read(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.encode(TEXT) == theirs(TEXT, add_special_tokens=False)["input_ids"]
    assert ours.encode("the mills") == [5, 7, 8]
    ours.export_huggingface(tmp_path / "exported", 40)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    assert again(TEXT, "the old")["input_ids"] == theirs(TEXT, "the old")["input_ids"]


NASTY = [
    "",
    "  the   old\n\nmill\t",
    "[MASK]the [MASK] a",
    "cafe\u0301 a\u00a0b",
    "a" * 300,
    "\U0001f600 the",
    "[CLS] the",
]


@pytest.mark.torch
@pytest.mark.parametrize("lowercase", [True, False])
def test_debertas_tokenizer_gives_the_same_ids_and_comes_back(tmp_path, lowercase):
    import transformers

    specials, words = PIECES[:4], ["▁", "▁the", "▁old", "▁mill", "s", "▁Caf", "é", "水", ",", *"abcdefghiklmot", "▁a"]
    scored = [(piece, -1.0 - 0.1 * i) for i, piece in enumerate(words)]
    pieces = [*((piece, 0.0) for piece in specials), *scored, ("[MASK]", 0.0)]
    theirs = transformers.DebertaV2Tokenizer(vocab=pieces, do_lower_case=lowercase)
    theirs.save_pretrained(tmp_path)
    ours = checkpoint_tokenizer.read(tmp_path)
    ours.export_huggingface(tmp_path / "exported", 400)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "exported")
    for text in (TEXT, *NASTY):
        wanted = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == wanted
        assert again(text, add_special_tokens=False)["input_ids"] == wanted
    assert dict(again(TEXT, "the old")) == dict(theirs(TEXT, "the old"))


def test_a_tokenizer_that_cuts_and_pads_does_neither_here(folder):
    definition = json.loads(checkpoint_tokenizer.read(folder).definition)
    definition["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    definition["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    assert checkpoint_tokenizer.read(folder).encode("the old " * 6) == [5, 6] * 6
    assert checkpoint_tokenizer.read(folder).encode("the") == [5]


def test_special_tokens_of_other_names(folder):
    definition = json.loads(checkpoint_tokenizer.read(folder).definition)
    names = {"cls": "cafe", "pad": "the", "sep": "old", "unk": "mill", "mask": {"content": "##s", "lstrip": True}}
    (folder / "special_tokens_map.json").write_text(json.dumps({f"{k}_token": v for k, v in names.items()}))
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    t = checkpoint_tokenizer.read(folder)
    assert (t.pad_id, t.unk_id, t.cls_id, t.sep_id, t.mask_id) == (5, 7, 9, 6, 8)


def test_what_is_wrong_is_one_clear_line(folder, tmp_path):
    assert checkpoint_tokenizer.read(tmp_path / "nowhere") is None
    (folder / "vocab.txt").write_text("the\nold\n")
    with pytest.raises(FormatError, match=r"vocab.txt' lacks \[UNK\], \[CLS\], \[SEP\]"):
        checkpoint_tokenizer.read(folder)
    (folder / "vocab.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(FormatError, match="is not UTF-8"):
        checkpoint_tokenizer.read(folder)
    (folder / "tokenizer.json").write_text('{"model": {"type": "WordLevel"}}')
    with pytest.raises(FormatError, match="of the kind 'WordLevel'"):
        checkpoint_tokenizer.read(folder)

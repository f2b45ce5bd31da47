"""Tokenizer files that are damaged, of another kind, or made to do harm: one clear line each, and no hanging."""

import base64
import copy
import json
import os
import signal

import pytest
from tests.data_pipeline import hostile

from data_pipeline import checkpoint_tokenizer
from data_pipeline.tokenizers import _sentencepiece_model, byte_level, load_tokenizer, sentencepiece, wordpiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "old", "mill", "##s"]
WORDS = {"stream": 3, "streams": 2, "dream": 5}


@pytest.fixture(autouse=True)
def no_hanging():
    """A file that is waited for, or worked on, without end fails its test."""

    def fails(*_):
        raise TimeoutError("reading the file has no end")

    before = signal.signal(signal.SIGALRM, fails)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def unigram():
    return json.loads(sentencepiece.build(lambda: WORDS, vocab_size=16).definition)


@pytest.fixture(scope="module")
def bytes_bpe():
    import tokenizers

    trained = tokenizers.ByteLevelBPETokenizer()
    trained.train_from_iterator(hostile.EXAMPLES, 300, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return json.loads(trained.to_str())


def refused(read, *names):
    """Reading ends in one line that names one of the files."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011, whose class and text are looked at
        read()
    assert type(caught.value).__module__.startswith(("configuration", "data_pipeline")), repr(caught.value)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert any(name in message for name in names), message


NOT_TEXT = {
    "empty": b"",
    "blank": b"\n \n",
    "binary": bytes(range(256)) * 9,
    "not UTF-8": b'{"model": "caf\xe9"}',
    "UTF-16": '{"model": {}}'.encode("utf-16"),
    "cut": b'{"model": {"type": "BPE", "vocab": {"a": 0',
    "a list": b"[1, 2]",
    "a number": b"7",
    "null": b"null",
    "nothing": b"{}",
    "nested": b"[" * 200_000,
    "nested objects": b'{"model":' * 200_000,
    "digits": b'{"model": ' + b"9" * 10_000 + b"}",
    "pipe": None,
    "folder": None,
}


def write(file, content, kind):
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(content)


@pytest.mark.parametrize("kind", NOT_TEXT)
@pytest.mark.parametrize("place", ["byte_level", "checkpoint", "saved", "kind", "vocab", "model"])
def test_files_that_are_no_such_files(tmp_path, unigram, kind, place):
    names = {"vocab": "vocab.txt", "model": "a.model", "kind": "kind.json"}
    file = tmp_path / names.get(place, "tokenizer.json")
    write(file, NOT_TEXT[kind], kind)
    if place == "kind":
        (tmp_path / "tokenizer.json").write_text(json.dumps(unigram))
    elif place == "saved":
        (tmp_path / "kind.json").write_text('{"kind": "sentencepiece", "specials": {}}')
    read = {
        "byte_level": lambda: byte_level.build(dict, file=str(file)),
        "checkpoint": lambda: checkpoint_tokenizer.read(tmp_path),
        "saved": lambda: load_tokenizer(tmp_path),
        "kind": lambda: load_tokenizer(tmp_path),
        "vocab": lambda: wordpiece.build(dict, vocab=str(file)),
        "model": lambda: sentencepiece.build(dict, model=str(file)),
    }
    refused(read[place], str(file))


SETTINGS = [
    {"pad_token": 3},
    {"unk_token": ["[UNK]"]},
    {"cls_token": {"text": "[CLS]"}},
    {"mask_token": {"content": None}},
    {"mask_token": "\ud800"},
    {"do_lower_case": "perhaps"},
    {"strip_accents": {}},
    {"tokenize_chinese_chars": [1]},
    {"sep_token": "no such piece", "mask_token": "neither"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=map(str, SETTINGS))
@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_settings_of_wrong_types(tmp_path, unigram, settings, name):
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram))
    (tmp_path / name).write_text(json.dumps(settings))
    refused(lambda: checkpoint_tokenizer.read(tmp_path), name, "tokenizer.json")


KINDS = [
    {"kind": 3, "specials": {}},
    {"kind": "sentencepiece"},
    {"kind": "sentencepiece", "specials": {"pad": 3}},
    {"kind": "sentencepiece", "specials": {"pad": "none of it"}},
    {"kind": "sentencepiece", "specials": []},
    {"kind": "no_such_kind", "specials": {}},
    {"kind": "checkpoint", "specials": {}},
    {"kind": "..", "specials": {}},
    {"kind": "a..b", "specials": {}},
    {"kind": "../../x", "specials": {}},
    {"kind": "", "specials": {}},
    {"kind": "json", "specials": {}},
    {"kind": "json.decoder", "specials": {}},
]


@pytest.mark.parametrize("kind", KINDS, ids=map(str, KINDS))
def test_kinds_of_wrong_shape(tmp_path, unigram, kind):
    (tmp_path / "tokenizer.json").write_text(json.dumps(unigram))
    (tmp_path / "kind.json").write_text(json.dumps(kind))
    refused(lambda: load_tokenizer(tmp_path), "kind.json", "tokenizer.json", "data_pipeline.tokenizers")


def added(content, number=16, **others):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, "special": True} | flags | others


TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
CHARSMAPS = [
    b"",
    b"\x04\0\0\0abcd",
    b"\0\0\0\0",
    b"\xff" * 9,
    b"\0\4\0\0" + b"\xff" * 1024,
    b"\0\4\0\0" + b"\x7f" * 1024,
]


def uni(vocab, unk=0):
    return {"model": {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": False}}


DEFINITIONS = {
    "no model": {"model": None},
    "a model that is a list": {"model": []},
    "no vocabulary": {"model": {"type": "Unigram"}},
    "an empty vocabulary": uni([]),
    "a vocabulary of numbers": uni([1, 2]),
    "scores of text": uni([["a", "b"]]),
    "unknown piece out of range": uni([["a", 1.0]], 7),
    "no unknown piece": uni([["a", 1.0]], None),
    "a piece twice": uni([["<unk>", 0.0], ["a", 1.0], ["a", 2.0]]),
    "WordPiece without its unknown": {
        "model": {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "[X]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100}, "added_tokens": [],
    },
    "ids above the size": {
        "model": {"type": "WordPiece", "vocab": {"a": 4294967295, "[UNK]": 5}, "unk_token": "[UNK]",
                  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
    },
    "an id twice": {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0, "[UNK]": 1}, "merges": [], "unk_token": None}},
    "merges of unknown pieces": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]}},
    "merges of three": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}},
    "merges of numbers": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [1]}},
    "a long sign of continuation": {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]],
                  "continuing_subword_prefix": "éééé"},
    },
    "a sign of continuation within a character": {
        "model": {"type": "BPE", "vocab": {"a": 0, "é": 1, "aé": 2}, "merges": [["a", "é"]],
                  "continuing_subword_prefix": "#"},
    },
    "added tokens of text": {"added_tokens": ["[MASK]"]},
    "added tokens without text": {"added_tokens": [{"id": 3}]},
    "added tokens of null": {"added_tokens": None},
    "a half surrogate": {"added_tokens": [added("\ud800")]},
    "an unknown version": {"version": "9.0"},
    "a broken pattern": {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "(((("}}},
    "an unknown step": {"pre_tokenizer": {"type": "Formatting"}},
    "steps of numbers": {"normalizer": {"type": "Sequence", "normalizers": [1, 2]}},
    "no cut into words": {"pre_tokenizer": None},
    "cut otherwise": {"pre_tokenizer": SPLIT | {"pattern": {"String": "e"}}},
    "a template that explains nothing": {
        "post_processor": TEMPLATE | {"single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}]},
    },
    "a template of numbers": {"post_processor": TEMPLATE | {"single": 3}},
    "an unknown decoder": {"decoder": {"type": "x"}},
    "a table of numbers": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": 7}},
    "a table that is not base64": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "@@@"}},
}  # fmt: skip
DEFINITIONS |= {
    f"table {i}": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}}
    for i, table in enumerate(CHARSMAPS)
}


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_definitions_of_wrong_shape(tmp_path, capfd, unigram, kind):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(copy.deepcopy(unigram) | DEFINITIONS[kind]))
    refused(lambda: checkpoint_tokenizer.read(tmp_path), str(file))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"type": "BPE"}},
        {"model": {"type": "BPE", "vocab": [], "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
        {"model": [1]},
        {"pre_tokenizer": [1]},
        {"pre_tokenizer": "ByteLevel"},
        {"added_tokens": 3},
        {"added_tokens": [3]},
        {"added_tokens": [{"id": 1}]},
        {"post_processor": {"type": "RobertaProcessing"}},
    ],
    ids=str,
)
def test_byte_level_definitions_of_wrong_shape(tmp_path, bytes_bpe, change):
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(bytes_bpe | change))
    refused(lambda: byte_level.build(dict, file=str(file)), str(file))


VOCABULARIES = {
    "a piece twice": [*PIECES, "the"],
    "blank lines": [*PIECES, "", ""],
    "no special tokens": PIECES[5:],
    "one line": [" ".join(PIECES)],
}


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_vocabularies_of_wrong_shape(tmp_path, kind):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(VOCABULARIES[kind]) + "\n")
    refused(lambda: wordpiece.build(dict, vocab=str(file)), str(file))
    refused(lambda: checkpoint_tokenizer.read(tmp_path), str(file))


def test_a_mark_of_byte_order_is_no_part_of_a_piece(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8-sig")
    assert wordpiece.build(dict, vocab=str(tmp_path / "vocab.txt")).pad_id == 0


MODELS = {
    "cut": lambda model: model.SerializeToString()[:-20],
    "no unknown piece": lambda model: setattr(model.pieces[0], "type", 1),
    "two unknown pieces": lambda model: setattr(model.pieces[3], "type", 2),
    "a piece twice": lambda model: setattr(model.pieces[4], "piece", model.pieces[5].piece),
    "an empty piece": lambda model: setattr(model.pieces[4], "piece", ""),
    "an endless piece": lambda model: setattr(model.pieces[4], "piece", "a" * 100_000),
    "a score that is no number": lambda model: setattr(model.pieces[4], "score", float("nan")),
    "an infinite score": lambda model: setattr(model.pieces[4], "score", float("inf")),
    "of whole words": lambda model: setattr(model.trainer_spec, "model_type", 3),
    "another kind": lambda model: setattr(model.trainer_spec, "model_type", 77),
    "a table that ends early": lambda model: setattr(model.normalizer_spec, "precompiled_charsmap", CHARSMAPS[4]),
    "a piece that is not UTF-8": lambda model: model.SerializeToString().replace(b"dream", b"dr\xff\xfem"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_sentencepiece_models_of_wrong_shape(tmp_path, capfd, kind):
    model = _sentencepiece_model._model()()
    for piece, number in (("<unk>", 2), ("<s>", 3), ("</s>", 3), *((p, 1) for p in ("▁", "dream", "s", "▁river"))):
        model.pieces.add(piece=piece, type=number, score=-1.0)
    file = tmp_path / "a.model"
    file.write_bytes(model.SerializeToString())
    sentencepiece.build(dict, model=str(file))  # as it is, it can be used
    changed = MODELS[kind](model)
    file.write_bytes(changed if isinstance(changed, bytes) else model.SerializeToString())
    refused(lambda: sentencepiece.build(dict, model=str(file)), str(file))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("path", ["a\0b", "a" * 300, "~nobody-of-this-name/x"])
def test_paths_that_cannot_be(path):
    refused(lambda: byte_level.build(dict, file=path), "options.file")
    refused(lambda: wordpiece.build(dict, vocab=path), "options.vocab")
    refused(lambda: sentencepiece.build(dict, model=path), "options.model")

"""WordPiece, token for token as Hugging Face's BertTokenizerFast."""

import itertools

import pytest
from hypothesis import given, settings
from tests.data_pipeline import hostile

from configuration.foreign import FormatError
from data_pipeline.tokenizers import END, load_tokenizer, wordpiece


def vocabulary(cased: bool) -> list[str]:
    characters = sorted({c for text in hostile.EXAMPLES for c in text if not c.isspace()} - set("🦉"))
    words = ["the", "river", "##s", "##ing", "naive", "na", "##ive", "中", "文", "Hello", "hello", "##rld", "wo", "ss"]
    pieces = [*characters, *(f"##{c}" for c in characters if c.isalnum()), *words]
    if not cased:
        pieces = [piece for piece in pieces if piece.lower() == piece]
    return ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(pieces)]


@pytest.fixture(scope="module", params=["cased", "uncased"])
def vocab(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "vocab.txt"
    path.write_text("\n".join(vocabulary(request.param == "cased")) + "\n")
    return path


@pytest.fixture(scope="module")
def tokenizer(vocab):
    return wordpiece.build(dict, vocab=str(vocab))


@pytest.fixture(scope="module")
def reference(vocab):
    transformers = pytest.importorskip("transformers")
    lowercase = "uncased" in str(vocab)
    return transformers.BertTokenizerFast.from_pretrained(vocab.parent, do_lower_case=lowercase)


@settings(max_examples=400, deadline=None)
@given(text=hostile.texts)
def test_token_for_token_as_bert(tokenizer, reference, text):
    expected = reference(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(text) == expected
    if not any(special in text for special in reference.all_special_tokens):
        assert tokenizer.encode_lines([text.replace("\0", "")])[0].tolist() == expected


CHINESE = ["中文the river中 文", "㐀䶿䷀䷿一鿿ꀀ", "中\u0301文\u200b中", "豈𠀀中ab。，文", "", "の中ㄅ文가", "the。”"]


@pytest.mark.parametrize("spaced", [True, False])
def test_chinese_characters_are_words_where_the_rules_make_them_so(vocab, spaced):
    tokenizer = wordpiece.build(dict, vocab=str(vocab), chinese_characters=spaced)
    tokens, lengths = tokenizer.encode_lines(CHINESE)
    expected = tokenizer.encode_batch(CHINESE)
    assert tokens.tolist() == list(itertools.chain.from_iterable(expected))
    assert lengths.tolist() == list(map(len, expected))
    text, ends = wordpiece.words(CHINESE[:2], [False, False], tokenizer._backend)
    cut = [text[first:end].decode().strip() for first, end in itertools.pairwise([0, *ends.tolist()])]
    whole = ["中文the", "river中", "文", END, "㐀䶿䷀䷿一鿿ꀀ", END]
    alone = ["中", "文", "the", "river", "中", "文", END, "㐀", "䶿", "䷀䷿", "一", "鿿", "ꀀ", END]
    assert [word for word in cut if word] == (alone if spaced else whole)


@settings(max_examples=200, deadline=None)
@given(text=hostile.texts)
def test_a_corpus_holds_no_special_tokens(tokenizer, text):
    tokens, _ = tokenizer.encode_lines([text])
    assert not set(tokens.tolist()) & {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}


def test_export(tokenizer, reference, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer.export_huggingface(tmp_path / "export", max_length=64)
    exported = transformers.AutoTokenizer.from_pretrained(tmp_path / "export")
    for text in hostile.EXAMPLES:
        assert exported(text)["input_ids"] == [tokenizer.cls_id, *tokenizer.encode(text), tokenizer.sep_id]
        assert exported(text, "river")["token_type_ids"] == reference(text, "river")["token_type_ids"]
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").fingerprint == tokenizer.fingerprint


def test_whole_words(tokenizer):
    ids = tokenizer.encode("rivers naive 中文")
    starts = dict(zip(tokenizer.pieces(ids), tokenizer.word_start[ids].tolist(), strict=True))
    assert starts == {"river": True, "##s": False, "naive": True, "中": True, "文": True}


def test_special_tokens_where_bert_has_them(tokenizer):
    ids = (tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id)
    assert ids == (0, 2, 3, 4, 5)


def test_options(vocab):
    keeps = wordpiece.build(dict, vocab=str(vocab), lowercase=False, strip_accents=False)
    assert keeps.encode("é") != keeps.encode("e")
    strips = wordpiece.build(dict, vocab=str(vocab), lowercase=False, strip_accents=True)
    assert strips.encode("é") == strips.encode("e")


def test_bad_vocabularies(tmp_path):
    with pytest.raises(FormatError, match="No such file"):
        wordpiece.build(dict, vocab=str(tmp_path / "none"))
    (tmp_path / "words").write_text("the\nriver\n[CLS]\n")
    with pytest.raises(FormatError, match=r"lacks \[UNK\], \[SEP\]; is it a WordPiece vocabulary"):
        wordpiece.build(dict, vocab=str(tmp_path / "words"))
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    with pytest.raises(FormatError, match="is not UTF-8: byte at offset 3"):
        wordpiece.build(dict, vocab=str(tmp_path / "latin"))

"""Offsets and words of pieces: as transformers' fast tokenizers have them, for every kind of tokenizer."""

import collections

import numpy as np
import pytest
import tokenizers as library
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.data_pipeline import hostile
from tests.data_pipeline.exported import in_transformers
from tests.data_pipeline.test_tokenizers_wordpiece import vocabulary

from configuration import variants
from configuration.variants import ConfigError, use
from data_pipeline.alignment import encode_with_offsets, encode_words
from data_pipeline.tokenizers import byte_level, sentencepiece, wordpiece

TEXT = " ".join(hostile.EXAMPLES[2:10]) + " the river ran past the old mill and the children walked to the river"
KINDS = ["unigram", "bpe", "lowercase", "cased", "uncased", "chinese joined", "bytes", "bytes untrimmed"]
KINDS += ["existing", "checkpoint"]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def byte_level_file(path, spaced: bool, trim: bool) -> str:
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    trainer = library.trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(hostile.EXAMPLES, trainer)
    ends = (("</s>", 2), ("<s>", 0))
    tokenizer.post_processor = library.processors.RobertaProcessing(*ends, add_prefix_space=spaced, trim_offsets=trim)
    tokenizer.save(str(path))
    return str(path)


def build(kind: str, folder):
    counts = lambda: collections.Counter(TEXT.split())
    if kind in ("unigram", "bpe"):
        return sentencepiece.build(counts, vocab_size=90, algorithm=kind)
    if kind == "lowercase":
        return sentencepiece.build(counts, vocab_size=85, lowercase=True)
    if kind.startswith("bytes"):
        trim = kind == "bytes"
        return byte_level.build(dict, file=byte_level_file(folder / "bytes.json", spaced=trim, trim=trim))
    if kind == "existing":
        build("uncased", folder).save(folder / "tokenizer")
        return variants.load("data_pipeline.tokenizers", use("existing", folder=str(folder / "tokenizer")))(dict)
    if kind == "checkpoint":
        build("bpe", folder).export_huggingface(folder / "export", max_length=64)
        return variants.load("data_pipeline.tokenizers", use("checkpoint", folder=str(folder / "export")))(dict)
    (folder / "vocab.txt").write_text("\n".join(vocabulary(kind == "cased")) + "\n")
    return wordpiece.build(dict, vocab=str(folder / "vocab.txt"), chinese_characters=kind != "chinese joined")


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, tmp_path_factory):
    return build(request.param, tmp_path_factory.mktemp("kind"))


@pytest.fixture(scope="module")
def exported(tokenizer, tmp_path_factory):
    return in_transformers(tokenizer, tmp_path_factory.mktemp("exported"))


@settings(max_examples=200, deadline=None)
@given(text=hostile.texts)
def test_offsets_as_transformers_has_them_but_for_white_space(tokenizer, exported, text):
    ids, offsets = encode_with_offsets(tokenizer, text)
    assert ids == tokenizer.encode(text)
    reference = exported(text, add_special_tokens=False, return_offsets_mapping=True)
    assert ids == reference["input_ids"]
    for (start, end), (first, last) in zip(offsets.tolist(), reference["offset_mapping"], strict=True):
        visible = text[first:last].strip()
        assert text[start:end] == visible
        assert first <= start <= end <= last
        assert not visible or text.startswith(visible, start)
    assert offsets.dtype == np.int64
    assert offsets.shape == (len(ids), 2)


@settings(max_examples=200, deadline=None)
@given(text=st.text("the riverMLCa.,'-中文 \n\t", max_size=60))
def test_a_piece_is_the_text_where_it_stands(tokenizer, text):
    """Where normalisation changes one character at a time, every character but white space is in one piece or more."""
    ids, offsets = encode_with_offsets(tokenizer, text)
    for i, (start, end) in zip(ids, offsets.tolist(), strict=True):
        surface = tokenizer.surfaces[i].decode("utf-8", "replace").strip()
        if i != tokenizer.unk_id and "\ufffd" not in surface and surface:
            assert text[start:end].lower() == surface.lower()
    covered = np.zeros(len(text), bool)
    for start, end in offsets.tolist():
        covered[start:end] = True
    assert [c for c, inside in zip(text, covered, strict=True) if not inside and not c.isspace()] == []


def test_offsets_on_text_that_normalisation_changes(tokenizer):
    text = "  Naïve\u00a0cafe\u0301 中文，\x00ﬁnd "
    ids, offsets = encode_with_offsets(tokenizer, text)
    stands = {text[start:end] for start, end in offsets.tolist()}
    assert all(start < end for start, end in offsets.tolist()) or "" in stands
    assert any("ï" in part for part in stands)
    assert any("中" in part for part in stands)
    assert ids == tokenizer.encode(text)


def test_no_text(tokenizer):
    ids, offsets = encode_with_offsets(tokenizer, "")
    assert (ids, offsets.shape) == ([], (0, 2))
    for words in ([], [""], ["", "\x00"]):
        ids, numbers = encode_words(tokenizer, words)
        assert ids == tokenizer.encode(" ".join(words))
        assert len(numbers) == len(ids)


WORDS = st.lists(hostile.texts.flatmap(lambda text: st.sampled_from([*text.split(), text[:12], "the"])), max_size=6)


@settings(max_examples=200, deadline=None)
@given(words=WORDS, joiner=st.sampled_from([" ", ""]))
@example(words=["中", "文", "", "the", "\u0301", "e"], joiner="")
@example(words=["a", "", "\x00", " ", "b"], joiner=" ")
@example(words=["a", "<mask>", "b", "[MASK]", "é", "the"], joiner="")
@example(words=["a", ""], joiner=" ")
def test_words_have_the_ids_of_their_sentence(tokenizer, words, joiner):
    sentence = joiner.join(words)
    ids, numbers = encode_words(tokenizer, words, joiner)
    assert ids == tokenizer.encode(sentence)
    assert numbers.shape == (len(ids),)
    assert numbers.dtype == np.int64
    assert (np.diff(numbers) >= 0).all()
    starts = np.cumsum([0, *(len(word) + len(joiner) for word in words)])
    for number, (start, end) in zip(numbers, encode_with_offsets(tokenizer, sentence)[1], strict=True):
        assert 0 <= number < len(words)
        assert start == end or starts[number] <= start < starts[number] + len(words[number])


CHARACTERS = st.sampled_from("abehilrtvwMÀéßñ中文国日の한ж.,'!-😀ﬁ①\u0301\u200b\x00\xad")


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.text(CHARACTERS, min_size=1, max_size=8), max_size=8))
@example(words=["Hello", ",", "the", "river", "'s", "naïve", "中文", "é", "😀", "\x00", "\u200b"])
def test_words_as_transformers_has_them(tokenizer, exported, words):
    ids, numbers = encode_words(tokenizer, words)
    if tokenizer.kind == "byte_level":  # there a word has the space before it
        words = [*words[:1], *(f" {word}" for word in words[1:])]
    reference = exported(words, is_split_into_words=True, add_special_tokens=False)
    assert (ids, numbers.tolist()) == (reference["input_ids"], reference.word_ids())


def test_words_without_a_piece(tokenizer):
    ids, numbers = encode_words(tokenizer, ["the", "\x00", "", "river"])
    found = set(numbers.tolist())
    assert {0, 3} <= found
    if tokenizer.kind != "byte_level":
        assert found == {0, 3}
    assert tokenizer.decode([i for i, n in zip(ids, numbers, strict=True) if n == 3]).strip() in ("river", "[UNK]")


def test_pieces_over_several_words_belong_to_the_first():
    tokenizer = build("unigram", None)
    ids, numbers = encode_words(tokenizer, ["t", "h", "e"], "")
    assert tokenizer.pieces(ids) == ["▁th", "e"]
    assert numbers.tolist() == [0, 2]


def test_a_joiner_of_text(tokenizer):
    with pytest.raises(ConfigError, match="joiner='-' is text; give ' '"):
        encode_words(tokenizer, ["a", "b"], "-")

"""Word starts of Chinese by jieba, whatever pieces a tokenizer cuts the text into."""

import importlib.util
import itertools
import json
import random
import unicodedata

import jieba
import numpy as np
import pytest
import tokenizers
from test_prepare import run

from bert_jax.config import Data
from configuration.variants import ConfigError, load, use
from data_pipeline.tokenizers import Tokenizer, sentencepiece
from data_pipeline.tokenizers import load_tokenizer as load_saved
from data_pipeline.words import jieba as by_jieba

TEXTS = [
    "我们在北京大学学习自然语言处理。",
    "他说：“中华人民共和国成立了！”然后离开会场。",
    "研究生命起源的科学家买了一部手机和三本书",
    "話說天下大勢，分久必合，合久必分。",
]
ALPHABET = [
    *["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
    *sorted({c for text in TEXTS for c in text + unicodedata.normalize("NFKC", text)}),
    "play",
    "##ing",
    "i",
]


def wordpiece(folder) -> Tokenizer:
    (folder / "vocab.txt").write_text("\n".join(ALPHABET))
    return load("data_pipeline.tokenizers", use("wordpiece", vocab=str(folder / "vocab.txt")))(dict)


def byte_level(folder) -> Tokenizer:
    signs = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *signs])}
    merges = []
    for left, right in ["åħ", "Ġæ", "çļ"]:  # pieces that cut characters in other places than a byte at a time does
        vocab[left + right] = len(vocab)
        merges.append([left, right])
    definition = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(definition))
    return load("data_pipeline.tokenizers", use("byte_level", file=str(folder / "tokenizer.json")))(dict)


def unigram(folder) -> Tokenizer:
    words = {c: 20 for text in TEXTS for c in text} | {
        "".join(t): 9 for text in TEXTS for t in itertools.pairwise(text)
    }
    return sentencepiece.build(lambda: words, vocab_size=120, character_coverage=1.0)


def begins(text: str) -> set[int]:
    """The characters at which jieba's words begin: what the library itself says."""
    starts, place = set(), 0
    for word in jieba.cut(text):
        starts.add(place)
        place += len(word)
    return starts


def is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"


@pytest.mark.parametrize("make", [wordpiece, byte_level, unigram])
def test_a_token_starts_a_word_where_jieba_does(tmp_path, make):
    tokenizer = make(tmp_path)
    rng = random.Random(0)
    lines = [*TEXTS, *("".join(rng.choices("".join(TEXTS), k=30)) for _ in range(40))]
    lines = [unicodedata.normalize("NFKC", line) for line in lines]  # as the unigram tokenizer does
    tokens, lengths = tokenizer.encode_lines(lines)
    starts = by_jieba.build(tokenizer)(tokens, lengths)
    ends = np.cumsum(lengths)
    inside = 0
    for line, first, last in zip(lines, ends - lengths, ends, strict=True):
        expected = begins(line)
        place, utf8, after_space = 0, line.encode(), False
        for token, start in zip(tokens[first:last], starts[first:last], strict=True):
            surface = tokenizer.surfaces[token].removeprefix(b" ")
            assert utf8[place : place + len(surface)] == surface
            if surface:
                character = len(utf8[:place].decode("utf-8", "ignore"))
                cut = len(utf8[:place].decode("utf-8", "ignore").encode()) != place or utf8[place] & 0xC0 == 0x80
                if cut:
                    assert not start
                elif is_chinese(line[character]):
                    assert start == (character in expected and not after_space), (line, character)
                    inside += not start
            else:
                assert start  # a space alone opens the word after it
            place, after_space = place + len(surface), not surface
        assert place == len(utf8)
    assert inside > 20


def test_other_languages_and_mixtures_stay_as_the_vocabulary_has_them(tmp_path):
    tokenizer = wordpiece(tmp_path)
    pieces = by_jieba.build(tokenizer)
    tokens, lengths = tokenizer.encode_lines(["i playing i", "playing 北京大学 i我们", "我们"])
    assert tokenizer.pieces(tokens) == [*"i play ##ing i play ##ing 北 京 大 学 i 我 们 我 们".split()]  # noqa: SIM905
    assert pieces(tokens, lengths).astype(int).tolist() == [1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 0]
    table = load("data_pipeline.words", use("pieces"))(tokenizer)
    assert table(tokens, lengths).astype(int).tolist() == [1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    rare = "x" * 101  # an unknown word, whose characters no token has
    tokens, lengths = tokenizer.encode_lines([f"我们{rare}学习"])
    assert pieces(tokens, lengths).astype(int).tolist() == [1, 0, 1, 1, 0]


def test_the_store_has_them(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS * 20))
    wordpiece(tmp_path)
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "text.txt")),),
        sentences=use("chinese"),
        tokenizer=use("wordpiece", vocab=str(tmp_path / "vocab.txt")),
        words=use("jieba"),
        held_out=0.3,
        workers=1,
    )
    store = run(data, tmp_path / "store")
    split = store.split("train") if store.split("train").documents > 40 else store.split("held_out")
    (shard,) = split.shards
    tokens = np.asarray(shard.tokens)
    expected = by_jieba.build(load_saved(store.path / "tokenizer"))(tokens, np.diff(shard.sentence_offsets))
    expected[shard.sentence_offsets[:-1]] = True
    np.testing.assert_array_equal(shard.annotation("word_starts", 0, tokens.size), expected)
    assert 0.4 < expected.mean() < 0.8
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"jieba, which is not installed: pip install 'bert_jax\[chinese\]'"):
        run(data, tmp_path / "other")

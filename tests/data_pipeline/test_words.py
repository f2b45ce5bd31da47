"""Word starts of Chinese by jieba, whatever pieces a tokenizer cuts the text into."""

import dataclasses
import importlib.metadata
import itertools
import json
import random
import unicodedata

import jieba
import numpy as np
import pytest
import rjieba
import tokenizers
from test_prepare import run

from bert_jax.config import Data
from configuration.variants import ConfigError, load, use
from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import whole
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


def test_the_segmenter_has_the_words_of_jieba():
    mixed = ["iPhone 4S手机的价格是3999.50元，打8.5折！", "他毕业于MIT，在IBM工作。", "小明硕士毕业于中国科学院计算所"]
    for line in [*TEXTS, *mixed]:
        assert rjieba.cut(line) == list(jieba.cut(line))
        assert rjieba.cut(line, False) == list(jieba.cut(line, HMM=False))
    date = "酒店2008-6-1开业"  # where they are known to differ
    assert (rjieba.cut(date)[1], list(jieba.cut(date))[1]) == ("2008-6-1", "2008")


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
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.2.1")
    with pytest.raises(
        DataError, match=r'prepared with jieba of {"rjieba": "\d.*, not {"rjieba": "0.2.1"}; give another'
    ):
        run(data, store.path)
    monkeypatch.undo()
    monkeypatch.setattr(by_jieba, "_PACKAGE", "no-such-package")
    assert run(data, store.path).manifest == store.manifest  # what is made already needs no segmenter
    with pytest.raises(ConfigError, match=r"no-such-package is not installed: pip install 'bert_jax\[chinese\]'"):
        run(data, tmp_path / "other")


def test_a_dictionary_of_ones_own(tmp_path):
    tokenizer = wordpiece(tmp_path)
    file = tmp_path / "words.txt"
    file.write_text("\ufeff北京大 900 n\n学学习 800\n\n我 5\n")
    words = by_jieba.build(tokenizer, dictionary=str(file), new_words=False)
    tokens, lengths = tokenizer.encode_lines(["我们在北京大学学习"])
    assert words(tokens, lengths).astype(int).tolist() == [1, 1, 1, 1, 0, 0, 1, 0, 0]
    segmenter = jieba.Tokenizer(str(file))
    segmenter.FREQ, segmenter.total = (
        {"北京大": 900, "北": 0, "北京": 0, "学学习": 800, "学": 0, "学学": 0, "我": 5},
        1705,
    )
    segmenter.initialized = True
    assert list(segmenter.cut("我们在北京大学学习", HMM=False)) == [*"我们在", "北京大", "学学习"]


def test_another_dictionary_makes_another_store(tmp_path):
    (tmp_path / "text.txt").write_text("\n\n".join(TEXTS * 20))
    wordpiece(tmp_path)
    file = tmp_path / "words.txt"
    file.write_text("北京大 900\n")
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "text.txt")),),
        tokenizer=use("wordpiece", vocab=str(tmp_path / "vocab.txt")),
        words=use("jieba", dictionary=str(file)),
        held_out=0.3,
        workers=1,
    )
    first = run(data, tmp_path / "first")
    file.write_text("大学 900\n")
    with pytest.raises(DataError, match="prepared with jieba of"):
        run(data, tmp_path / "first")
    second = run(data, tmp_path / "second")
    assert first.manifest.fingerprint != second.manifest.fingerprint
    with pytest.raises(ConfigError, match="no variant"):
        run(dataclasses.replace(data, words=use("jeiba")), tmp_path / "third")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ("北京 3\n大学\n", r"line 2 '大学'; it must be a word, a space and the word's count"),
        ("北京 -3\n", "line 1 '北京 -3'; it must be"),
        ("北京 many\n", "line 1 '北京 many'; it must be"),
        ("北京 0\n", "has no word with a count above 0"),
        ("", "has no word with a count above 0"),
        (None, "dictionary="),
    ],
)
def test_a_dictionary_that_is_none(tmp_path, contents, message):
    file = tmp_path / "words.txt"
    if contents is not None:
        file.write_text(contents)
    with pytest.raises(ConfigError, match=message):
        by_jieba.build(wordpiece(tmp_path), dictionary=str(file))


HOSTILE = [
    "我们\ud800在北京大学",
    "我们\x00在北京\x00\x00大学学习",
    "北京😀大学👩‍👩‍👧学习",
    "\ufeff我们\u200b在\u202e北京",
    "북경대학 Пекин 北京大学 ﷽ हिन्दी",
    "𠀀𠀁我们㐀㐁学习\uf900\uf901大学",
    "　　我们　在　北京　",
    "我" * 70_000,
    "".join(TEXTS) * 2_000,
    "\r我们\r\n在\u2028北京\x85大学",
]


@pytest.mark.parametrize("make", [wordpiece, byte_level, unigram])
def test_hostile_text_has_the_starts_of_its_lines_alone(tmp_path, make, monkeypatch):
    """Batches of lines change nothing, no cut character starts a word, and each line by itself has the same."""
    tokenizer = make(tmp_path)
    lines = [whole(line).replace("\0", "") for line in HOSTILE]
    tokens, lengths = tokenizer.encode_lines(lines)
    words = by_jieba.build(tokenizer)
    starts = words(tokens, lengths)
    assert (starts.dtype, starts.shape) == (bool, tokens.shape)
    ends = np.cumsum(lengths)
    alone = [words(tokens[end - n : end], np.array([n])) for n, end in zip(lengths, ends, strict=True)]
    np.testing.assert_array_equal(starts, np.concatenate(alone))
    monkeypatch.setattr(by_jieba, "_TOKENS_AT_ONCE", 7)
    np.testing.assert_array_equal(starts, words(tokens, lengths))
    inside = np.array([surface[:1] >= b"\x80" and surface[:1] < b"\xc0" for surface in tokenizer.surfaces])
    assert not starts[inside[tokens]].any()


def test_a_line_of_half_characters_leaves_the_others_as_they_are(tmp_path):
    tokenizer = byte_level(tmp_path)
    words = by_jieba.build(tokenizer)
    tokens, lengths = tokenizer.encode_lines(TEXTS)
    starts = words(tokens, lengths)
    half = np.concatenate([tokens[:5], tokens])  # the bytes of a character and a part of another
    assert not b"".join(tokenizer.surfaces[token] for token in half[:5]).decode("utf-8", "ignore").endswith("们")
    found = words(half, np.concatenate([[5], lengths]))
    np.testing.assert_array_equal(found[5:], starts)
    np.testing.assert_array_equal(found[:5], tokenizer.word_start[half[:5]])

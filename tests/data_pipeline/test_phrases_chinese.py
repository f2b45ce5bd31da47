"""Phrases of a list in Chinese, whose words are those of the segmenter, and lists of a Chinese store."""

import dataclasses
import re

import numpy as np
import pytest
import test_prepare as corpora
from test_words import TEXTS, byte_level, unigram, wordpiece

from bert_jax.config import Data
from configuration.variants import ConfigError, load, use
from data_pipeline import annotations, frequent_phrases
from data_pipeline.annotations import phrases
from data_pipeline.errors import DataError

LIST = ["中华人民共和国成立", "自然 语言　处理", "一部手机和三本", "学习自然语言", "大", "下大勢"]


def units_of(tokenizer, variant, sentences):
    functions = annotations.build_all(use("jieba"), (variant,), tokenizer)
    tokens, lengths = tokenizer.encode_lines(sentences)
    found = annotations.annotated(functions, tokens, lengths)
    texts = {}
    for name, starts in found.items():
        parts = np.split(tokens, np.flatnonzero(starts)[1:])
        texts[name] = [b"".join(tokenizer.surfaces[token] for token in part).decode().strip() for part in parts]
    return texts


def test_a_list_is_found_as_the_text_is_segmented(tmp_path):
    tokenizer = wordpiece(tmp_path)
    (tmp_path / "list.txt").write_text("\n".join(LIST))
    found = units_of(tokenizer, use("phrases", file=str(tmp_path / "list.txt")), TEXTS)
    # 自然语言处理 begins within 学习自然语言, and 一部手机和三本 ends within 三本书.
    joined = [unit for unit in found["phrases"] if unit not in found["word_starts"]]
    assert joined == ["学习自然语言", "中华人民共和国成立"]
    assert "".join(found["phrases"]) == "".join(found["word_starts"])


@pytest.mark.parametrize("make", [byte_level, unigram])
def test_a_list_is_found_whatever_pieces_words_are_cut_into(tmp_path, make):
    listed = {"我们在北京大学", "自然语言处理"}
    (tmp_path / "list.txt").write_text("\n".join(listed))
    lines = ["我们在北京大学学习自然语言处理", "在北京大学我们学习处理自然语言"]
    found = units_of(make(tmp_path), use("phrases", file=str(tmp_path / "list.txt")), lines)
    assert set(found["phrases"]) - set(found["word_starts"]) == listed


def test_against_a_search_of_the_text(tmp_path):
    """Random words over few characters, so that phrases overlap and part of them stand inside of words."""
    tokenizer = wordpiece(tmp_path)
    rng = np.random.default_rng(0)
    letters = np.array([*"我们在北京play"[:5], " i ", "，"])
    listed = {"".join(rng.choice(letters[:6], rng.integers(2, 5))).strip() for _ in range(40)}
    listed = {" ".join(line.split()) for line in listed if len(re.findall("[我们在北京]", line)) > 1}
    (tmp_path / "list.txt").write_text("\n".join(sorted(listed)))
    find = phrases.finder(tokenizer, str(tmp_path / "list.txt"), "phrases.file")
    lines = ["".join(rng.choice(letters, rng.integers(0, 40))) for _ in range(60)]
    tokens, lengths = tokenizer.encode_lines(lines)
    starts = rng.random(len(tokens)) < 0.7
    starts[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    firsts, inner = find(tokens, lengths, starts)
    surfaces = [tokenizer.surfaces[token].decode() for token in tokens]
    plain = ["，" not in surface for surface in surfaces]
    expected_firsts = [i for i in range(len(tokens)) if starts[i] or not plain[i] or (i and not plain[i - 1])]
    assert firsts.tolist() == expected_firsts
    known = {normalised(tokenizer, line) for line in listed}
    bounds, sentence = [*firsts.tolist(), len(tokens)], np.repeat(np.arange(len(lengths)), lengths)
    expected, word = np.zeros(len(firsts), bool), 0
    while word < len(firsts):
        count = 1
        for more in range(2, len(firsts) - word + 1):
            span = range(bounds[word], bounds[word + more])
            if sentence[span[-1]] != sentence[span[0]] or not all(plain[i] for i in span):
                break
            if "".join(surfaces[i] for i in span).removeprefix(" ") in known:
                count = more
        expected[word + 1 : word + count] = True
        word += count
    np.testing.assert_array_equal(inner, expected)
    assert inner.sum() > 20


def normalised(tokenizer, line: str) -> str:
    tokens, _ = tokenizer.encode_lines([re.sub(r"(?<=[我们在北京]) (?=[我们在北京])", "", line)])
    return "".join(tokenizer.surfaces[token].decode() for token in tokens).removeprefix(" ")


def test_a_list_without_phrases(tmp_path):
    tokenizer = wordpiece(tmp_path)
    for text in ("大\n学\n", "play\n", " 大 \n"):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(ConfigError, match="no line of two words or more"):
            load("data_pipeline.annotations", use("phrases", file=str(tmp_path / "list.txt")))(tokenizer)


def test_frequent_phrases_of_a_chinese_store_are_found_in_it(tmp_path):
    rng = np.random.default_rng(0)
    wordpiece(tmp_path)
    words = ["我们", "学习", "手机", "科学家", "会场", "离开", "一部", "大学"]
    sentences = []
    for _ in range(900):
        chosen = rng.choice(words, 6).tolist()
        if rng.random() < 0.3:
            chosen.insert(int(rng.integers(7)), "自然语言处理")
        sentences.append("".join(chosen) + "。")
    (tmp_path / "text.txt").write_text("\n\n".join(sentences))
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "text.txt")),),
        sentences=use("chinese"),
        tokenizer=use("wordpiece", vocab=str(tmp_path / "vocab.txt")),
        words=use("jieba"),
        held_out=0.1,
        workers=1,
    )
    store = corpora.run(data, tmp_path / "store")
    found = frequent_phrases.frequent_phrases(store, longest=4, least_count=20, least=0.5)
    assert {text for text, _, _ in found} == {"自然语言处理"}
    (tmp_path / "list.txt").write_text("\n".join(text for text, _, _ in found))
    units = units_of(store.tokenizer, use("phrases", file=str(tmp_path / "list.txt")), sentences[:100])["phrases"]
    assert units.count("自然语言处理") == "".join(sentences[:100]).count("自然语言处理") > 10


@pytest.mark.parametrize("name", ["phrases", "names", "entities"])
def test_another_list_makes_another_store(tmp_path, name):
    (tmp_path / "text.txt").write_text("In Paris we met.\n\nThe Bank of England is near.\n\nNew York is not.\n" * 20)
    file = tmp_path / "list.txt"
    file.write_text("Bank of England\n")
    options = {"lists": (str(file),)} if name == "entities" else {"file": str(file)}
    data = dataclasses.replace(corpora.data(tmp_path / "text.txt", vocab_size=33), annotations=(use(name, **options),))
    store = corpora.run(data, tmp_path / "store")
    assert corpora.run(data, tmp_path / "store").manifest == store.manifest
    file.write_text("Bank of England\nNew York\n")
    with pytest.raises(DataError, match=f"was prepared with {name} of .*; give another output or remove it"):
        corpora.run(data, tmp_path / "store")
    file.unlink()
    assert corpora.run(data, tmp_path / "store").manifest == store.manifest  # all there is

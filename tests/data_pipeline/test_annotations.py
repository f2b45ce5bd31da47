"""Annotations on their way from a file of their own through the store into batches."""

import dataclasses

import numpy as np
import pytest
import test_prepare as corpora
from texts import SPECIALS, numbered

from bert_jax.config import Config, Model, Phase
from bert_jax.training import setup
from configuration.variants import ConfigError, load, use
from data_pipeline import annotations, frequent_phrases
from data_pipeline.batches import pipeline
from data_pipeline.store.writer import write_store
from data_pipeline.tokenizers import sentencepiece

LENGTH = 37
TEXT = "In Paris the Bank of England met Jean Paul Sartre, Paris and Anna. New York City"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    random = np.random.default_rng(0)
    documents = [random.integers(1, 15, random.integers(1, 6)).tolist() for _ in range(80)]
    size = 5 + sum(map(sum, documents))
    tables = {"phrases": np.arange(size) % 4 > 0, "kinds": (np.arange(size) % 251).astype(np.uint8)}
    text = numbered(documents, iter(range(5, size)))
    folder = tmp_path_factory.mktemp("annotated")
    return write_store(folder / "store", {"train": text}, vocab_size=size, annotations=tables, documents_per_shard=30)


def test_a_batch_has_those_that_are_named(store):
    split = store.split("train")
    read = lambda *names: pipeline.PackedText([split], use("full_sentences"), LENGTH, SPECIALS, annotations=names)
    batch = read("kinds", "phrases").batch(0, 64)
    text = batch["tokens"] >= 5
    assert batch["kinds"].dtype == np.uint8
    assert batch["phrases"].dtype == bool
    np.testing.assert_array_equal(batch["kinds"], np.where(text, batch["tokens"] % 251, 0))
    before_is_text = np.roll(text, 1, axis=1)
    inner = text & before_is_text
    np.testing.assert_array_equal(batch["phrases"][inner], batch["tokens"][inner] % 4 > 0)
    assert batch["phrases"][(batch["segments"] > 0) & ~inner].all()
    assert not batch["phrases"][batch["segments"] == 0].any()
    bare = read().batch(0, 64)
    assert set(batch) - set(bare) == {"kinds", "phrases"}
    assert "word_starts" not in bare


def test_what_was_not_prepared_is_named(store):
    config = Config(name="x", phases=(Phase(steps=1, length=LENGTH, batch_size=2, learning_rate=1.0),))
    config = dataclasses.replace(config, model=Model(vocab_size=store.vocab_size))
    stand_in = SPECIALS._asdict()
    tokenizer = type("Tokenizer", (), {f"{name}_id": value for name, value in stand_in.items()})
    store.__dict__["tokenizer"] = tokenizer
    vocabulary = setup.Vocabulary(store.vocab_size, 0, 2, 3, 4)
    objective = load("bert_jax.objectives", config.objective)(config.model, vocabulary)
    lacking = objective._replace(needs=("capitals", "phrases"))
    examples = setup.open_examples(config, store, 0, lacking.needs)
    assert "phrases" in examples.fields
    with pytest.raises(ConfigError, match=r"fields capitals of a batch; prepare .*annotations=\(use\('capitals'\),\)"):
        setup.check_fields(config, lacking, examples)


def test_prepare_writes_them_in_the_order_of_the_configuration(tmp_path):
    data = dataclasses.replace(corpora.data(corpora.corpus(tmp_path)), annotations=(use("capitals"),))
    store = corpora.run(data, tmp_path / "store")
    assert dict(store.annotations) == {"word_starts": "starts", "capitals": "starts"}
    (shard,) = store.split("train").shards
    tokens, starts = np.asarray(shard.tokens), shard.annotation("word_starts", 0, shard.facts.tokens)
    again = annotations.build_all(use("pieces"), data.annotations, store.tokenizer)
    expected = annotations.annotated(again, tokens, np.diff(shard.sentence_offsets))
    np.testing.assert_array_equal(expected["word_starts"], starts)
    np.testing.assert_array_equal(expected["capitals"], shard.annotation("capitals", 0, len(tokens)))
    assert store.manifest.made["data"]["annotations"] == [{"name": "capitals", "options": {}}]
    with pytest.raises(ConfigError, match="two of the name 'capitals'"):
        annotations.build_all(use("pieces"), (use("capitals"), use("capitals", most=2)), store.tokenizer)


def units(tokenizer, annotate, *sentences: str) -> list[str]:
    """The units of sentences as texts."""
    tokens, lengths = tokenizer.encode_lines(sentences)
    starts = annotate(tokens, lengths, tokenizer.word_start[tokens])
    starts[0] = True
    begins = np.flatnonzero(starts)
    return ["".join(tokenizer.pieces(part)).replace("▁", " ").strip() for part in np.split(tokens, begins[1:])]


@pytest.fixture(scope="module")
def tokenizer():
    words = dict.fromkeys(TEXT.split(), 9) | dict.fromkeys(sorted(set(TEXT) - {" "}), 50)
    return sentencepiece.build(lambda: words, vocab_size=50, character_coverage=1.0)


def test_capitals_join_names(tokenizer):
    build = load("data_pipeline.annotations", use("capitals"))
    first, second = TEXT.split(". ")
    found = units(tokenizer, build(tokenizer), first + ".", second)
    names = ["In Paris", "the", "Bank", "of", "England", "met", "Jean Paul Sartre", ",", "Paris", "and", "Anna."]
    assert found == [*names, "New York City"]
    assert units(tokenizer, build(tokenizer, most=2), second) == ["New York", "City"]
    lowered = sentencepiece.build(lambda: dict.fromkeys("abc", 9), vocab_size=9, character_coverage=1.0)
    with pytest.raises(ConfigError, match="the tokenizer lowers case"):
        build(lowered)


def test_capital_letters_are_labels_of_words(tokenizer):
    annotate = load("data_pipeline.annotations", use("capital_letters"))(tokenizer)
    tokens, lengths = tokenizer.encode_lines(["In Paris met, a 3"])
    labels = annotate(tokens, lengths, tokenizer.word_start[tokens])
    firsts = tokenizer.word_start[tokens]
    assert labels.dtype == np.uint8
    assert labels[firsts].tolist()[:3] == [2, 2, 1]
    assert not labels[~firsts].any()
    lowered = sentencepiece.build(lambda: dict.fromkeys("abc", 9), vocab_size=9, character_coverage=1.0)
    with pytest.raises(ConfigError, match="capital_letters, but the tokenizer lowers case"):
        load("data_pipeline.annotations", use("capital_letters"))(lowered)


def names(tokenizer, annotate, *sentences: str) -> list[tuple[str, int]]:
    """The names of sentences, with their kinds."""
    tokens, lengths = tokenizer.encode_lines(sentences)
    labels = annotate(tokens, lengths, tokenizer.word_start[tokens])
    firsts = np.flatnonzero(labels % 2 == 1)
    found = []
    for first in firsts:
        end = first + 1
        while end < len(labels) and labels[end] and labels[end] % 2 == 0:
            assert labels[end] == labels[first] + 1
            end += 1
        text = "".join(tokenizer.pieces(tokens[first:end])).replace("▁", " ").strip()
        found.append((text, int(labels[end - 1] + 1) // 2))
    return found


def test_entities_have_kinds_by_capitals_and_lists(tokenizer, tmp_path):
    build = load("data_pipeline.annotations", use("entities"))
    first, second = TEXT.split(". ")
    of_capitals = ["In Paris", "Bank", "England", "Jean Paul Sartre", "Paris", "Anna", "New York City"]
    assert names(tokenizer, build(tokenizer), first + ".", second) == [(name, 1) for name in of_capitals]
    assert names(tokenizer, build(tokenizer), "Bank met Anna") == [("Anna", 1)]  # a sentence begins with a capital
    (tmp_path / "banks.txt").write_text("Bank of England")
    (tmp_path / "places.txt").write_text("New York\nof England")
    lists = tuple(str(tmp_path / name) for name in ("banks.txt", "places.txt"))
    found = names(tokenizer, build(tokenizer, lists=lists[:1]), "In Paris the Bank of England met", "Anna of New York")
    assert found == [("In Paris", 1), ("Bank of England", 2), ("New York", 1)]
    found = names(tokenizer, build(tokenizer, lists=lists), "In Paris the Bank of England met", "Anna of New York City")
    assert found == [("In Paris", 1), ("of England", 3), ("New York", 3)]
    with pytest.raises(ConfigError, match=r"annotations.entities.lists.0 is 'none.txt', which is no file"):
        build(tokenizer, lists=("none.txt",))


def test_sentence_starts(tokenizer):
    functions = annotations.build_all(use("pieces"), (use("sentence_starts"),), tokenizer)
    tokens, lengths = tokenizer.encode_lines(["In Paris", "the Bank", "met"])
    starts = annotations.annotated(functions, tokens, lengths)["sentence_starts"]
    assert np.flatnonzero(starts).tolist() == [0, *np.cumsum(lengths)[:-1]]


def test_phrases_of_a_list_join_the_longest_from_the_left(tokenizer, tmp_path):
    phrases = ["New York", "Bank of England", "the Bank of", "England met", "alone", "Paris, and", "New York City"]
    (tmp_path / "list.txt").write_text("\n".join(phrases))
    build = load("data_pipeline.annotations", use("phrases", file=str(tmp_path / "list.txt")))
    first, second = TEXT.split(". ")
    found = units(tokenizer, build(tokenizer), first + ".", second)
    start = ["In", "Paris", "the Bank of", "England met", "Jean", "Paul", "Sartre,", "Paris", "and", "Anna."]
    assert found == [*start, "New York City"]
    found = units(tokenizer, build(tokenizer), "New York, New", "York New York.")
    assert found == ["New York", ",", "New", "York", "New York", "."]
    for text in ("", "alone\n"):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(ConfigError, match="no line of two words or more"):
            build(tokenizer)
    with pytest.raises(ConfigError, match="which is no file"):
        load("data_pipeline.annotations", use("phrases", file="none.txt"))(tokenizer)


def test_phrases_are_words_that_stand_together_more_often_than_by_chance(tmp_path):
    rng = np.random.default_rng(0)
    words = [*"river mill school winter water teacher bridge door child stone field".split()]  # noqa: SIM905
    sentences = []
    for _ in range(1500):
        sentence = rng.choice(words, 6).tolist()
        if rng.random() < 0.3:
            sentence.insert(int(rng.integers(7)), ["New York", "as soon as"][int(rng.integers(2))])
        sentences.append(" ".join(sentence) + ".")
    (tmp_path / "text.txt").write_text("\n\n".join(sentences))
    store = corpora.run(corpora.data(tmp_path / "text.txt", vocab_size=40), tmp_path / "store")
    found = frequent_phrases.frequent_phrases(store, longest=4, least_count=20, least=0.5)
    assert {text for text, _, _ in found} == {"New York", "as soon", "soon as", "as soon as"}
    for text, number, score in found:
        train = " ".join(corpora.documents_of(store, "train").values())
        assert number == train.count(text)
        assert 0.5 < score <= 1

"""The share of held-out documents that the training text repeats, against a reckoning on the text itself."""

import re
import tracemalloc
import unicodedata

import numpy as np
import pytest

from bert_jax.config import Data
from configuration.variants import use
from data_pipeline import overlap
from data_pipeline.prepare import prepare
from data_pipeline.preparing.encoding import split_of
from data_pipeline.sources import Document
from data_pipeline.store import Store
from data_pipeline.tokenizers import sentencepiece, wordpiece

BEGIN, MIDDLE, END = ("mi", "ri", "scho", "wa", "Str"), ("ll", "ver", "ol", "n"), ("", "s", "É")
WORDS = [a + b + c for a in BEGIN for b in MIDDLE for c in END]


def reckoned(texts, held_out):
    """By the words of the text, in sets."""
    split = [split_of(Document("", text), held_out) for text in texts]

    def runs(text):
        folded = unicodedata.normalize("NFKC", text).casefold()
        words = ["".join(filter(str.isalnum, word)) for word in folded.split()]
        words = [word for word in words if word]
        return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}

    train = set().union(*(runs(text) for text, of in zip(texts, split, strict=True) if of == "train"))
    looked_at = [runs(text) for text, of in zip(texts, split, strict=True) if of == "held_out" and runs(text)]
    return len(looked_at), sum(len(found & train) > len(found) / 2 for found in looked_at)


def made_up(documents, repeated):
    """Texts of which some are another one in capitals, with other punctuation and a few other words."""
    random = np.random.default_rng(7)
    texts = []
    for number in range(documents):
        words = random.choice(WORDS, int(random.integers(3, 60))).tolist()
        if number and random.random() < repeated:
            words = re.findall(r"\w+", texts[int(random.integers(number))].upper())
            words[::40] = ["other"] * len(words[::40])
        cuts = set(random.integers(1, 12, 9).cumsum().tolist())
        texts.append(" ".join(f"{w}." if i in cuts else f"{w}," if i % 5 == 4 else w for i, w in enumerate(words)))
    return texts


@pytest.mark.parametrize("repeated", [0.0, 0.5])
def test_against_the_words_of_the_text(tmp_path, capsys, repeated):
    texts = made_up(600, repeated)
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    source = use("text_files", paths=str(tmp_path / "a.txt"))
    data = Data(sources=(source,), tokenizer=use("sentencepiece", vocab_size=70), held_out=0.3, workers=1)
    store = prepare(data, tmp_path / "store")
    documents, count = reckoned(texts, 0.3)
    assert store.manifest.made["overlap"] == {"words": 8, "documents": documents, "repeated": count}
    said = capsys.readouterr().out
    assert f"{count / documents:.1%} of {documents} held-out documents have most of their runs of 8 words" in said
    assert ("near_duplicates in config.data.cleaning removes such documents" in said) == (repeated > 0)
    assert count > 30 if repeated else count == 0


def test_near_duplicates_removed_first_leave_none(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(made_up(600, 0.5)))
    source = use("text_files", paths=str(tmp_path / "a.txt"))
    cleaning = (use("near_duplicates", threshold=0.5, words=3),)
    tokenizer = use("sentencepiece", vocab_size=70)
    store = prepare(Data(sources=(source,), cleaning=cleaning, tokenizer=tokenizer, held_out=0.3, workers=1),
                    tmp_path / "store", progress=False)  # fmt: skip
    found = store.manifest.made["overlap"]
    assert found["repeated"] <= 0.05 * found["documents"]


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_a_run_does_not_depend_on_how_its_words_are_cut(tmp_path, kind):
    """Case, width and punctuation change the pieces of a word, not its hash."""
    if kind == "sentencepiece":
        words = "the The bed BED, had! a! fled. fled HEAD head abed egg deaf deaF ,"
        tokenizer = sentencepiece.build(lambda: dict.fromkeys(words.split(), 3), vocab_size=30)
    else:
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyzABCDEFGH,.!", "the", "The"]
        pieces += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGH"] + ["##ed", "##ED"]
        (tmp_path / "vocab.txt").write_text("\n".join(pieces))
        tokenizer = wordpiece.build(dict, vocab=str(tmp_path / "vocab.txt"))
    hasher = overlap.Hasher(tokenizer)

    def runs(text):
        tokens = tokenizer.encode_lines([text])[0]
        return hasher.runs(tokens, tokenizer.word_start[tokens])

    plain = runs("the bed had a fled head abed egg deaf")
    assert len(plain) == 2
    np.testing.assert_array_equal(plain, runs("The BED , had a! fled. HEAD abed egg deaF"))
    assert not set(plain.tolist()) & set(runs("the bed had a fled head abed deaf egg").tolist())


def test_chunks_lose_no_run(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\n\n".join(made_up(400, 0.5)))
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "a.txt")),),
        tokenizer=use("sentencepiece", vocab_size=70),
        held_out=0.3,
        workers=1,
    )
    store = prepare(data, tmp_path / "store", progress=False)
    shards = [store.split(split).shards for split in ("train", "held_out")]
    monkeypatch.setattr(overlap, "_AT_ONCE", 100)
    for threads in (1, 3):
        assert overlap.measure(*shards, store.tokenizer, threads) == store.manifest.made["overlap"]


@pytest.mark.slow
def test_memory_is_bounded(tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(made_up(60_000, 0.1)))
    data = Data(
        sources=(use("text_files", paths=str(tmp_path / "a.txt")),),
        tokenizer=use("sentencepiece", vocab_size=70),
        held_out=0.3,
    )
    store = prepare(data, tmp_path / "store", progress=False)
    tracemalloc.start()
    overlap.measure(store.split("train").shards, store.split("held_out").shards, Store.open(store.path).tokenizer)
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()

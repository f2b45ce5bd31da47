"""Cleaning: each rule, the pass over the corpus, and a store that depends on neither workers nor interruptions."""

import random
import unicodedata

import numpy as np
import pytest
from test_prepare import Killed, contents, documents_of, small_parts  # noqa: F401, a fixture

from bert_jax.config import Data
from configuration.variants import ConfigError, use
from data_pipeline import clean, prepare
from data_pipeline.cleaning import comparable, exact_duplicates, near_duplicates
from data_pipeline.errors import DataError
from data_pipeline.preparing.encoding import split_of
from data_pipeline.sources import Document
from data_pipeline.store import Store

WORDS = [a + b for a in "ba ke li mo nu ra se ti vo zu".split() for b in "ck dal fin gor lem nas pit ros tun".split()]  # noqa: SIM905
RULES = (
    use("unicode", form="NFKC"),
    use("length", least=40),
    use("characters"),
    use("repetition"),
    use("exact_duplicates"),
    use("near_duplicates", threshold=0.7),
)


def prose(words: int, seed: int) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def text_of(words: list[str]) -> str:
    sentences = [words[i : i + 9] for i in range(0, len(words), 9)]
    return " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)


FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
LAST = text_of(prose(30, 500))


def corpus(folder) -> dict[str, str]:
    """120 different documents, and among them each kind of text that goes; writes it, gives text → rule."""
    fate = {text_of(prose(80, seed)): "" for seed in range(120)}
    kept = list(fate)
    for seed in range(10):
        near = prose(80, seed)
        near[40] = "otherwise"
        fate |= {text_of(near): "near_duplicates"}
        fate |= {kept[20 + seed].replace(" ", "  ", 1): "exact_duplicates"}
        fate |= {text_of(prose(4, 1000 + seed)): "length"}
        fate |= {"x 1234 5678 | " * 9 + f"{seed}": "characters"}
        fate |= {text_of(prose(12, 2000 + seed)) * 9: "repetition"}
    originals = [text for text, rule in fate.items() if not rule]
    others = [text for text, rule in fate.items() if rule]
    random.Random(1).shuffle(others)
    texts = (
        originals[:40] + [text for pair in zip(originals[40:], others, strict=False) for text in pair] + originals[90:]
    )
    (folder / "text.txt").write_text("\n\n".join(dict.fromkeys(texts)) + f"\n\n{LAST.translate(FULL_WIDTH)}")
    return fate


def data(folder, cleaning=RULES, workers: int = 1) -> Data:
    return Data(
        sources=(use("text_files", paths=str(folder / "text.txt")),),
        cleaning=cleaning,
        tokenizer=use("sentencepiece", vocab_size=120),
        held_out=0.2,
        workers=workers,
    )


def run(configuration: Data, output) -> Store:
    return prepare.prepare(configuration, output, progress=False)


def texts(store: Store) -> dict[str, str]:
    return documents_of(store, "train") | documents_of(store, "held_out")


def test_each_rule_removes_its_own_and_nothing_else(tmp_path, small_parts, capsys):  # noqa: F811
    fate = corpus(tmp_path)
    store = prepare.prepare(data(tmp_path), tmp_path / "store")
    kept = texts(store)
    assert sorted(kept.values()) == sorted([*(t for t, rule in fate.items() if not rule), LAST])
    whole = texts(run(data(tmp_path, cleaning=RULES[:1]), tmp_path / "whole"))
    assert kept == {name: text for name, text in whole.items() if name in kept}  # where and what it was without rules
    report = store.manifest.made["cleaning"]
    assert report["documents"] == len(whole) == 171
    assert [(rule["name"], rule["documents"]) for rule in report["rules"]] == [
        ("unicode", 0),
        *((rule.name, 10) for rule in RULES[1:]),
    ]
    for rule in report["rules"][1:]:
        assert len(rule["samples"]) == 5
        if rule["name"] in ("length", "repetition", "near_duplicates"):  # the others' spaces and signs do not decode
            assert all(fate[whole[sample["id"]]] == rule["name"] for sample in rule["samples"])
    assert report["rules"][0]["changed"] == 1
    assert report["rules"][1]["reasons"] == {"below 40 characters": 10}
    for sample in report["rules"][5]["samples"]:
        assert np.mean([a == b for a, b in zip(sample["text"], sample["original"], strict=True)]) > 0.9
    said = capsys.readouterr().out
    assert "cleaning removed 50 of 171 documents (29.2%)" in said
    assert "near_duplicates  10 removed" in said


def test_neither_workers_nor_interruptions_change_a_byte(tmp_path, small_parts, monkeypatch):  # noqa: F811
    corpus(tmp_path)
    whole = contents(run(data(tmp_path), tmp_path / "whole").path)
    assert contents(run(data(tmp_path, workers=3), tmp_path / "many").path) == whole
    examine, decide, read = clean._Examine._examine, clean._decided, []

    def dies(self, documents):
        if len(read) == 3:
            raise Killed
        read.append(1)
        return examine(self, documents)

    def killed(*args):
        raise Killed

    for name, function in {"_examine": dies, "_decided": killed, "_parts": killed}.items():
        with monkeypatch.context() as patch:
            patch.setattr(clean._Examine if name == "_examine" else clean, name, function)
            with pytest.raises(Killed):
                run(data(tmp_path), tmp_path / "store")
        assert not (tmp_path / "store").exists()
        if name == "_examine":  # what is finished is not done again
            monkeypatch.setattr(clean._Examine, "_examine", lambda *a: (read.append(1), examine(*a))[1])
        if name == "_decided":
            monkeypatch.setattr(clean._Examine, "_examine", killed)
            total = len(read)
    assert len(list((tmp_path / "store.preparing" / "cleaning").iterdir())) == 2
    monkeypatch.setattr(clean, "_decided", killed)
    assert contents(run(data(tmp_path), tmp_path / "store").path) == whole
    assert len(read) == total > 6
    monkeypatch.setattr(clean, "_decided", decide)
    with pytest.raises(DataError, match=r"prepared with data\.cleaning=\[.*; give another output"):
        run(data(tmp_path, cleaning=RULES[:2]), tmp_path / "store")


@pytest.mark.parametrize("newer", [0, 1])
def test_signatures_of_an_older_version_are_taken_anew(tmp_path, small_parts, monkeypatch, newer):  # noqa: F811
    corpus(tmp_path)

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(clean, "_decided", killed)
        with pytest.raises(Killed):
            run(data(tmp_path), tmp_path / "store")
    examine, read = clean._Examine._examine, []
    monkeypatch.setattr(clean._Examine, "_examine", lambda *a: (read.append(1), examine(*a))[1])
    monkeypatch.setattr(clean, "VERSION", clean.VERSION + newer)
    run(data(tmp_path), tmp_path / "store")
    assert bool(read) == bool(newer)


def test_near_duplicates_are_those_that_a_comparison_of_all_pairs_finds():
    rng, originals = random.Random(3), [prose(120, seed) for seed in range(60)]
    documents = []
    for words in originals:
        documents.append(words)
        for edits in (1, 2, 4, 12, 40):
            near = list(words)
            for place in rng.sample(range(120), edits):
                near[place] = rng.choice(WORDS)
            documents.append(near)
    rng.shuffle(documents)
    rule = near_duplicates.build(threshold=0.6)
    signatures = np.stack([rule.signature(text_of(words)) for words in documents])
    rows = np.flatnonzero(np.arange(len(documents)) % 10 > 0)  # others were removed before
    found = rule.originals(signatures, rows) != np.arange(len(rows))
    runs = [{tuple(words[i : i + 5]) for i in range(116)} for words in (documents[row] for row in rows)]
    kept: list[set] = []
    for duplicate, mine in zip(found, runs, strict=True):
        likeness = max([len(mine & other) / len(mine | other) for other in kept], default=0)
        assert duplicate or likeness < 0.75  # estimated from 128 numbers
        assert not duplicate or likeness > 0.45
        if not duplicate:
            kept.append(mine)
    assert len(rows) * 0.4 < len(kept) < len(rows) * 0.6


def test_languages_without_spaces():
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]
    book = "".join(random.Random(0).choices(characters, k=600)) + "。"
    other = "".join(random.Random(1).choices(characters, k=600)) + "。"
    rule = near_duplicates.build()
    signatures = np.stack([rule.signature(text) for text in (book, book[:300] + "新" + book[300:], other)])
    assert rule.originals(signatures, np.arange(3)).tolist() == [0, 0, 2]
    reason = clean.load_rule(use("repetition")).reason
    assert reason(book) == ""
    assert reason(book[:60] * 10) == "repeated long runs of words"
    assert clean.load_rule(use("characters")).reason(book) == ""
    arabic = unicodedata.normalize("NFD", "السَّلَامُ عَلَيْكُمْ " * 9)
    assert clean.load_rule(use("characters")).reason(arabic) == ""
    assert clean.load_rule(use("characters")).reason("😀 fine 😀 " * 9) == "many symbols"


def test_what_cannot_be_used(tmp_path):
    corpus(tmp_path)
    for rule, message in {
        use("near_duplicate"): "did you mean 'near_duplicates'",
        use("length", least=9, most=3): "length.least=9 and length.most=3 leave no document",
        use("characters", letters=1.5): "characters.letters=1.5 must be a share",
        use("near_duplicates", threshold=0.0): "near_duplicates.threshold=0.0 must be above 0",
    }.items():
        with pytest.raises(ConfigError, match=message):
            run(data(tmp_path, cleaning=(rule,)), tmp_path / "store")
    with pytest.raises(DataError, match="cleaning removes all 171 documents, length 171 of them; loosen it"):
        run(data(tmp_path, cleaning=(use("length", least=10**6),)), tmp_path / "store")
    assert not (tmp_path / "store.preparing").exists()


def test_documents_that_differ_in_white_space_or_unicode_form_are_one():
    """To the rule that removes duplicates and to the split alike: none stands on both sides."""
    texts = ["caf\u00e9 at night", "cafe\u0301  at\nnight ", "\uff43afe\u0301 at\u3000night"]
    signatures = {exact_duplicates.build().signature(text).tobytes() for text in texts}
    assert len(signatures) == 1
    for share in np.linspace(0.01, 0.99, 50):
        assert len({split_of(Document(str(i), text), share) for i, text in enumerate(texts)}) == 1


def test_comparable_text_has_no_white_space_of_any_kind():
    """Every character of Unicode, halves of surrogate pairs among them."""
    for first in range(0, 0x110000, 0x1000):
        text = " ".join(f"a{chr(code)}" for code in range(first, first + 0x1000))
        assert comparable(text) == "".join(unicodedata.normalize("NFKC", text).split())
    assert comparable(" \t\x1c\x85\u2028a\u3000b\u00a0") == "ab"

"""Masks on Chinese cut no word, phrase or name: against the words of the package jieba and the text itself."""

import jax
import jax.numpy as jnp
import jieba
import numpy as np
import pytest

from bert_jax.objectives.masking import Budget
from configuration.variants import load, use
from data_pipeline import annotations
from data_pipeline.tokenizers import wordpiece

TEXTS = [
    "我们在北京大学学习自然语言处理，他说中华人民共和国成立了",
    "研究生命起源的科学家买了一部手机和三本书，然后离开会场了",
    "话说天下大势，分久必合，合久必分，周末七国分争并入于秦国",
]
NAMES = ["天下大势", "中华人民共和国成立", "自然语言处理", "命起源的", "离开会场"]
ROWS = 64


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The lines again and again, a character a token, as a batch with their annotations."""
    folder = tmp_path_factory.mktemp("chinese")
    characters = sorted({character for text in TEXTS for character in text})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]))
    (folder / "names.txt").write_text("\n".join(NAMES))
    tokenizer = wordpiece.build(dict, vocab=str(folder / "vocab.txt"))
    lines = [TEXTS[i % len(TEXTS)] for i in range(ROWS)]
    tokens, lengths = tokenizer.encode_lines(lines)
    assert lengths.tolist() == list(map(len, lines))
    of_list = use("names", file=str(folder / "names.txt"))
    found = annotations.annotated(annotations.build_all(use("jieba"), (of_list,), tokenizer), tokens, lengths)
    width = max(lengths)
    text = np.arange(width) < lengths[:, None]

    def padded(values):
        row = np.zeros((ROWS, width), values.dtype)
        row[text] = values
        return jnp.asarray(row)

    fields = {"tokens": tokens.astype(np.int32), "segments": np.ones(len(tokens), np.int32)} | found
    return lines, jnp.asarray(text), {name: padded(values) for name, values in fields.items()}


def words_of(line: str) -> list[str]:
    return list(jieba.cut(line))


def units_of(line: str) -> list[str]:
    """The words, those of a name as one: from the left, where a name has several and ends where a word does."""
    words, units = words_of(line), []
    while words:
        count = next((n for n in range(len(words), 1, -1) if "".join(words[:n]) in NAMES), 1)
        units.append("".join(words[:count]))
        words = words[count:]
    return units


@pytest.mark.parametrize(
    ("masking", "expected"), [(use("whole_words"), words_of), (use("units", annotation="names"), units_of)]
)
def test_no_unit_is_cut(rows, masking, expected):
    lines, text, batch = rows
    masking = load("bert_jax.objectives.masking", masking)()
    budget = Budget(8, jnp.full(ROWS, 8, jnp.int32))
    longer = {unit for line in lines for unit in expected(line) if len(unit) > 2}
    met = set()
    for seed in range(5):
        chosen = masking.choose(batch, text, budget, jax.random.key(seed))
        for line, places, weights in zip(lines, *map(np.asarray, chosen[:2]), strict=True):
            predicted = set(places[weights > 0].tolist())
            assert 0 < len(predicted) <= 8
            first = 0
            for unit in expected(line):
                span = set(range(first, first + len(unit)))
                assert span <= predicted or not span & predicted, (line, unit)
                met |= {unit} if span <= predicted else set()
                first += len(unit)
    assert {unit for unit in longer if len(unit) <= 8} <= met
    assert len(longer) > 2

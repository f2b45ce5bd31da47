"""Pairs whose texts are read each by itself: against each text alone, in float64, and what is refused."""

import jax
import numpy as np
import pytest

from bert_jax import convert
from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.tasks import classification, load_task, regression
from bert_jax.tasks._pooling import compared
from bert_jax.tasks._texts import encode_apart
from configuration.foreign import FormatError
from configuration.variants import ConfigError, use
from data_pipeline.batches.labelled_rows import LabelledRows
from data_pipeline.labelled import Record
from data_pipeline.tokenizers import wordpiece

MODEL = Model(vocab_size=101, layers=2, width=24, heads=3, mlp_width=20, max_length=37)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Seven pairs as examples, and the tokens of each text."""
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(96)]
    vocab = tmp_path_factory.mktemp("words") / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n", encoding="utf-8")
    tokenizer, rng = wordpiece.build(dict, vocab=str(vocab)), np.random.default_rng(0)
    texts = [[" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(2)] for _ in range(7)]
    records = [Record({"a": a, "b": b}, f"pairs:{i}") for i, (a, b) in enumerate(texts)]
    ids = [[[2, *tokenizer.encode(text), 3] for text in pair] for pair in texts]
    return encode_apart(records, tokenizer, 37, ("a", "b"), 0), ids


def alone(params, tokens):
    """[D] float64: the mean over a text's tokens, in a batch of its own."""
    shape = {"tokens": np.array([tokens], np.int32), "positions": np.arange(len(tokens), dtype=np.int32)[None]}
    fields = {"segments": np.ones_like(shape["tokens"]), "token_types": np.zeros_like(shape["tokens"])}
    return np.asarray(bert.encode(MODEL, params, shape | fields), np.float64)[0].mean(0)


def test_each_text_is_read_as_if_alone(pairs) -> None:
    encoded, ids = pairs
    params = jax.device_get(bert.init(MODEL, jax.random.key(1), heads.parts(MODEL)))
    rows = LabelledRows(encoded, 37, 0, seed=None)
    batch = rows.batch(0, rows.rows)
    found = np.asarray(jax.jit(lambda params: compared(MODEL, params, batch, None))(params))
    assert rows.most > 1
    assert found.shape == (rows.rows, rows.most, 4 * 24)
    seen = []
    for row, place in np.argwhere(batch["weights"] > 0):
        number = int(batch["examples"][row, place])
        u, v = (alone(params, tokens) for tokens in ids[number])
        np.testing.assert_allclose(found[row, place], np.concatenate([u, v, abs(u - v), u * v]), atol=1e-5)
        seen.append(number)
    assert sorted(seen) == list(range(len(ids)))


@pytest.mark.parametrize("file", [classification, regression])
def test_the_head_reads_four_vectors(file) -> None:
    params = bert.init(MODEL, jax.random.key(0), file.parts(MODEL, pooling="compared"))
    assert params["sequence_head"]["kernel"].shape[0] == 4 * 24
    assert "pooler" not in params


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_what_cannot_be_compared_is_refused(name) -> None:
    with pytest.raises(ConfigError, match=r"task\.second is ''; it must be the column of the text that pooling="):
        load_task(use(name, pooling="compared"))
    with pytest.raises(ConfigError, match=r"task\.truncation is 'tail'; it must be head with pooling=compared"):
        load_task(use(name, pooling="compared", second="b", truncation="tail"))
    with pytest.raises(FormatError, match="every class of transformers for this task reads"):
        convert.check_pooling(use(name, pooling="compared", second="b"))

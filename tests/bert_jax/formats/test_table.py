"""The rules that map one array to another."""

import jax
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.formats import native, table
from bert_jax.formats.table import Rule
from bert_jax.modeling import bert, heads
from configuration.foreign import FormatError

MODEL = Model(vocab_size=101, layers=2, width=12, heads=3, mlp_width=20, max_length=40)


def roundtrip(rule, array):
    theirs = rule.export(MODEL, array)
    assert theirs.shape == rule.their_shape(MODEL, array.shape)
    return theirs, rule.restore(MODEL, theirs, array.shape)


def test_heads_become_the_rows_of_a_transposed_matrix():
    kernel = np.random.default_rng(0).normal(size=(12, 3, 4)).astype(np.float32)
    theirs, back = roundtrip(Rule("query/kernel", "q", inputs=1, transposed=True), kernel)
    for n in range(3):
        np.testing.assert_array_equal(theirs[4 * n : 4 * n + 4], kernel[:, n].T)
    np.testing.assert_array_equal(back, kernel)


def test_heads_that_are_inputs_become_its_columns():
    kernel = np.random.default_rng(0).normal(size=(3, 4, 12)).astype(np.float32)
    theirs, back = roundtrip(Rule("output/kernel", "o", inputs=2, transposed=True), kernel)
    for n in range(3):
        np.testing.assert_array_equal(theirs[:, 4 * n : 4 * n + 4], kernel[n].T)
    np.testing.assert_array_equal(back, kernel)


def test_rows_that_nothing_reads_come_first():
    rows = np.ones((5, 12), np.float32)
    theirs, back = roundtrip(Rule("position", "p", inputs=1, unused_rows=2), rows)
    assert theirs[:2].sum() == 0
    assert theirs[2:].min() == 1
    np.testing.assert_array_equal(back, rows)


def test_parameters_without_a_rule_are_never_dropped():
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head"))
    with pytest.raises(FormatError, match="no place for the parameters embeddings/norm/bias, embeddings/norm/scale"):
        table.export([Rule("embeddings/word/embedding", "w", inputs=1)], MODEL, {"embeddings": params["embeddings"]})


def test_our_own_folder_comes_back_bit_for_bit(tmp_path):
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head"))
    native.write(MODEL, params, tmp_path, "roberta")
    model, back, family = native.read(tmp_path)
    assert (model, family) == (MODEL, "roberta")
    ours, theirs = dict(table.flatten(params)), dict(table.flatten(back))
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[path])


def test_our_own_folder_lists_what_is_wrong(tmp_path):
    params = bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head"))
    del params["layers"]["mlp"]["up"]["bias"], params["mlm_head"]["bias"]
    native.write(MODEL, params, tmp_path)
    with pytest.raises(FormatError, match=r"missing: layers/mlp/up/bias, mlm_head/bias$"):
        native.read(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"layers": 2', '"layers": "two"', "model.layers: Input should be a valid integer"),
        ('"layers": 2', '"layer": 2', "model.layer is no field of this version; did you mean 'layers'"),
        ("bert_jax encoder", "another thing", "not the configuration of an encoder of ours"),
        ("{", "[", "cannot be read as JSON"),
    ],
)
def test_a_configuration_that_is_wrong_is_one_clear_line(tmp_path, old, new, message):
    native.write(MODEL, bert.init(MODEL, jax.random.key(0), heads.parts(MODEL, "mlm_head")), tmp_path)
    file = tmp_path / native.CONFIG
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        native.read(tmp_path)

"""Class weights as PyTorch's cross-entropy has them, and several dropout masks before one head."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.modeling import bert, heads
from bert_jax.modeling.heads import pooler, sequence_head
from bert_jax.objectives import Vocabulary
from bert_jax.tasks import classification
from configuration.variants import ConfigError, use

MODEL = Model(vocab_size=101, layers=1, width=24, heads=3, mlp_width=20, max_length=16, dropout=0.5)
LABELS = ("a", "b", "c")
VOCABULARY = Vocabulary(101, 0, 2, 3, 4)


def batch_of(rng, rows=8):
    shape = (rows, 16)
    fields = {"tokens": rng.integers(5, 101, shape), "segments": np.ones(shape), "token_types": np.zeros(shape)}
    fields |= {"positions": np.tile(np.arange(16), (rows, 1)), "places": np.zeros((rows, 1))}
    batch = {name: jnp.asarray(values, jnp.int32) for name, values in fields.items()}
    weights = np.ones((rows, 1), np.float32)
    weights[-1] = 0  # no example
    return batch | {"labels": jnp.asarray(rng.integers(0, 3, (rows, 1)), jnp.int32), "weights": jnp.asarray(weights)}


def params_of():
    parts = heads.parts(MODEL, "pooler", use("sequence_head", outputs=3))
    params = bert.init(MODEL, jax.random.key(0), parts)
    params["sequence_head"]["kernel"] *= 50  # logits that differ
    return params


def test_class_weights_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    weights = (0.2, 1.0, 3.5)
    objective = classification.build(MODEL, VOCABULARY, labels=LABELS, class_weights=weights)
    params, batch = params_of(), batch_of(np.random.default_rng(0))
    loss, _ = objective.loss(params, (), objective.corrupt(batch, jax.random.key(0)), None)
    vectors = pooler.transform(MODEL, params, bert.encode(MODEL, params, batch)[:, 0])
    logits = np.array(sequence_head.logits(MODEL, params, vectors))[:-1]
    labels = torch.tensor(np.asarray(batch["labels"])[:-1, 0], dtype=torch.long)
    wanted = torch.nn.functional.cross_entropy(torch.tensor(logits), labels, torch.tensor(weights))
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_more_dropout_samples_average_over_masks_of_the_same_encoder_output() -> None:
    """The mean over many keys is the same, and a sample of four masks varies less."""
    model = dataclasses.replace(MODEL, attention_dropout=0.0, dropout=0.1)
    params, batch = params_of(), batch_of(np.random.default_rng(1))
    found = {}
    for samples in (1, 4):
        objective = classification.build(model, VOCABULARY, labels=LABELS, dropout_samples=samples)
        ready = objective.corrupt(batch, jax.random.key(0))
        one = jax.jit(lambda key, o=objective, b=ready: o.loss(params, (), b, key)[0])
        found[samples] = np.array([float(one(jax.random.key(i))) for i in range(200)])
        assert float(objective.loss(params, (), ready, None)[0]) == pytest.approx(
            float(classification.build(model, VOCABULARY, labels=LABELS).loss(params, (), ready, None)[0])
        )
    assert found[4].std() < 0.9 * found[1].std()
    error = np.hypot(found[1].std(), found[4].std()) / np.sqrt(200)
    assert abs(found[1].mean() - found[4].mean()) < 4 * error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, r"task.class_weights is \(1.0, 2.0\); it must be one for each of"),
        ({"dropout_samples": 0}, "task.dropout_samples is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        classification.build(MODEL, VOCABULARY, labels=LABELS, **options)

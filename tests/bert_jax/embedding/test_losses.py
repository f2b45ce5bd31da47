"""Losses of vectors: values and gradients against PyTorch forms of the papers' formulas, in float64."""

import jax
import numpy as np
import pytest

from bert_jax.config import Model
from bert_jax.embedding import losses
from bert_jax.embedding.losses import multiple_negatives
from bert_jax.modeling.parts import together
from configuration.variants import ConfigError, names, use

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
F = torch.nn.functional

B, D = 7, 12
MODEL = Model(vocab_size=101, layers=1, width=D, heads=3, mlp_width=20, max_length=40, init_std=0.3)


def cos(u, v):
    """Each with each."""
    return F.normalize(u, dim=-1) @ F.normalize(v, dim=-1).T


def softmax(params, x, batch, classes=3):
    u, v = x[:, 0], x[:, 1]
    head = params["pair_classifier"]
    logits = torch.cat([u, v, (u - v).abs()], -1) @ head["kernel"] + head["bias"]
    return F.cross_entropy(logits, batch["labels"], reduction="none")


def cosine(params, x, batch):
    return (F.cosine_similarity(x[:, 0], x[:, 1]) - batch["labels"]) ** 2


def cosent(params, x, batch, scale=20.0):
    """The sum over pairs of examples, one by one; the loss is the batch's, not a mean."""
    found = F.cosine_similarity(x[:, 0], x[:, 1])
    terms = [
        torch.exp(scale * (found[i] - found[j]))
        for i in range(len(x))
        for j in range(len(x))
        if batch["labels"][i] < batch["labels"][j]
    ]
    return torch.log(1 + sum(terms)).expand(len(x))


def triplet(params, x, batch, margin=1.0):
    return F.relu((x[:, 0] - x[:, 1]).norm(dim=-1) - (x[:, 0] - x[:, 2]).norm(dim=-1) + margin)


def negatives(params, x, batch, scale=20.0, both_directions=False):
    others = torch.cat([x[:, t] for t in range(1, x.shape[1])])
    own = torch.arange(len(x))
    loss = F.cross_entropy(scale * cos(x[:, 0], others), own, reduction="none")
    if both_directions:
        loss = (loss + F.cross_entropy(scale * cos(x[:, 1], x[:, 0]), own, reduction="none")) / 2
    return loss


def simcse(params, x, batch, temperature=0.05, projection=False, hard_negative_weight=1.0):
    """Equations 1 and 8, term by term."""
    if projection:
        dense = params["pooler"]
        x = torch.tanh(x @ dense["kernel"] + dense["bias"])
    e = [torch.exp(cos(x[:, 0], x[:, t]) / temperature) for t in range(1, x.shape[1])]
    total = e[0].sum(-1)
    if len(e) > 1:
        weights = torch.ones_like(e[1]) + (hard_negative_weight - 1) * torch.eye(len(x), dtype=x.dtype)
        total = total + (weights * e[1]).sum(-1)
    return -torch.log(e[0].diagonal() / total)


def matryoshka(params, x, batch, loss=None, dimensions=(), weights=()):
    inner = {"multiple_negatives": negatives, "triplet": triplet}[loss.name if loss else "multiple_negatives"]
    weights = weights or [1.0] * len(dimensions)
    return sum(w * inner(params, x[..., :d], batch) for d, w in zip(dimensions, weights, strict=True) if d <= D)


CASES = [
    (use("softmax"), softmax, 2),
    (use("softmax", classes=5), softmax, 2),
    (use("cosine"), cosine, 2),
    (use("cosent"), cosent, 2),
    (use("cosent", scale=5.0), cosent, 2),
    (use("triplet"), triplet, 3),
    (use("triplet", margin=0.2), triplet, 3),
    (use("multiple_negatives"), negatives, 2),
    (use("multiple_negatives", scale=5.0, both_directions=True), negatives, 2),
    (use("multiple_negatives", both_directions=True), negatives, 4),
    (use("simcse"), simcse, 2),
    (use("simcse", projection=True), simcse, 2),
    (use("simcse", temperature=0.1, hard_negative_weight=3.0), simcse, 3),
    (use("matryoshka", dimensions=(12, 5, 3, 64), weights=(1.0, 0.5, 0.25, 9.0)), matryoshka, 3),
    (use("matryoshka", dimensions=(4, 12), loss=use("triplet")), matryoshka, 3),
]


def make(variant):
    """The loss and its parameters."""
    return losses.build_loss(variant, MODEL), together(losses.parts_of(variant, MODEL)).init(jax.random.key(1))


def make_batch(needs, texts, padding=0, classes=3):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(B + padding, texts, D)).astype(np.float32)
    weights = rng.uniform(0.5, 2, B + padding)
    weights[B:] = 0
    batch = {"example_weights": (weights / weights.sum()).astype(np.float32)}
    if "text_ids" in needs:
        batch["text_ids"] = distinct(B + padding, texts)
    return vectors, batch


def distinct(examples, texts):
    """Numbers of texts no two of which are equal."""
    return np.arange(examples * texts, dtype=np.int32).reshape(examples, texts)


def labels_of(variant, padding=0):
    rng = np.random.default_rng(1)
    if variant.name == "softmax":
        return {"labels": rng.integers(0, variant.options.get("classes", 3), B + padding)}
    return (
        {"labels": rng.uniform(-1, 1, B + padding).astype(np.float32)} if variant.name in ("cosine", "cosent") else {}
    )


@pytest.mark.parametrize("padding", [0, 3], ids=["full", "padded"])
@pytest.mark.parametrize(("variant", "plain", "texts"), CASES, ids=lambda case: str(case) if not callable(case) else "")
def test_value_and_gradient_are_the_papers(variant, plain, texts, padding) -> None:
    loss, params = make(variant)
    vectors, batch = make_batch(loss.needs, texts, padding)
    batch |= labels_of(variant, padding)
    assert set(loss.needs) == batch.keys() - {"example_weights"}
    found, (of_params, of_vectors) = jax.value_and_grad(lambda p, x: loss.value(p, x, batch)[0], (0, 1))(
        params, vectors
    )

    theirs = jax.tree.map(lambda p: torch.tensor(np.asarray(p, np.float64), requires_grad=True), params)
    x = torch.tensor(vectors[:B].astype(np.float64), requires_grad=True)
    real = {name: torch.tensor(value[:B]) for name, value in batch.items()}
    wanted = (plain(theirs, x, real, **variant.options) * real["example_weights"].double()).sum()
    wanted.backward()
    np.testing.assert_allclose(found, wanted.item(), rtol=2e-6)
    largest = x.grad.abs().max().item()
    np.testing.assert_allclose(of_vectors[:B], x.grad, atol=3e-6 * largest)
    np.testing.assert_array_equal(of_vectors[B:], 0)
    for ours, tensor in zip(jax.tree.leaves(of_params), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(ours, tensor.grad, rtol=0, atol=1e-6 * max(1, float(tensor.grad.abs().max())))


def test_every_file_is_tested() -> None:
    assert {variant.name for variant, _, _ in CASES} == set(names(losses.__name__))


def test_accuracy_counts_the_anchors_that_find_their_own() -> None:
    loss, _ = make(use("multiple_negatives"))
    near = np.random.default_rng(0).normal(size=(B, 1, D)).repeat(2, axis=1).astype(np.float32)
    batch = {"example_weights": np.full(B, 1 / B, np.float32), "text_ids": distinct(B, 2)}
    assert float(loss.value({}, near, batch)[1]["accuracy"]) == pytest.approx(1)
    near[:2, 1] = near[1::-1, 1]  # two change their positives
    assert float(loss.value({}, near, batch)[1]["accuracy"]) == pytest.approx(1 - 2 / B)


@pytest.mark.parametrize("variant", [use("multiple_negatives", both_directions=True), use("simcse")], ids=str)
@pytest.mark.parametrize("texts", [2, 3])
def test_an_equal_text_is_no_negative(variant, texts) -> None:
    """As if each anchor had a softmax over what belongs to other texts alone, computed anchor by anchor."""
    loss, _ = make(variant)
    rng = np.random.default_rng()
    ids = rng.integers(0, 19, (B, texts)).astype(np.int32)
    vectors = rng.normal(size=(19, D))[ids] + 0.1 * rng.normal(size=(B, texts, D))  # under dropout of their own
    units = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    pairs = [set(row[:2].tolist()) for row in ids]

    def one(i, asked, answers):
        others = [units[j, answers] for j in range(B) if not pairs[i] & pairs[j]]
        if answers == 1:
            others += [units[j, t] for t in range(2, texts) for j in range(B) if int(ids[j, t]) not in pairs[i]]
        scores = [20 * units[i, asked] @ x for x in (units[i, answers], *others)]
        return np.logaddexp.reduce(scores) - scores[0]

    forth, back = (np.mean([one(i, *way) for i in range(B)]) for way in ((0, 1), (1, 0)))
    batch = {"example_weights": np.full(B, 1 / B, np.float32), "text_ids": ids}
    found = float(loss.value({}, vectors.astype(np.float32), batch)[0])
    assert found == pytest.approx(forth if variant.name == "simcse" else (forth + back) / 2, rel=2e-5)


def test_equal_texts_have_a_gradient() -> None:
    loss, _ = make(use("triplet"))
    same, weights = np.ones((B, 3, D), np.float32), {"example_weights": np.full(B, 1 / B, np.float32)}
    assert np.isfinite(jax.grad(lambda x: loss.value({}, x, weights)[0])(same)).all()


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (use("simcse", temperature=0.0), "simcse.temperature is 0.0"),
        (use("multiple_negatives", scale=-1.0), "multiple_negatives.scale is -1.0"),
        (use("triplet", margin=-1.0), "triplet.margin is -1.0"),
        (use("softmax", classes=1), "softmax.classes is 1"),
        (use("matryoshka", loss=use("softmax")), "matryoshka.loss is softmax"),
        (use("matryoshka", dimensions=(4, 0)), r"matryoshka.dimensions is \(4, 0\)"),
    ],
)
def test_options_that_cannot_be(variant, message) -> None:
    with pytest.raises(ConfigError, match=message):
        losses.build_loss(variant, MODEL)


def test_examples_of_another_number_of_texts() -> None:
    with pytest.raises(ConfigError, match="the loss simcse takes 2 or 3 texts an example; there are 4"):
        losses.check_texts(make(use("simcse"))[0], "simcse", 4)
    with pytest.raises(ConfigError, match="takes 2 or more texts an example; there are 1"):
        losses.check_texts(make(use("multiple_negatives"))[0], "multiple_negatives", 1)
    losses.check_texts(make(use("multiple_negatives"))[0], "multiple_negatives", 5)


def test_candidates_of_a_mesh_are_those_of_the_whole_batch() -> None:
    """Columns: the positives of all examples, then their hard negatives."""
    vectors = np.random.default_rng(0).normal(size=(4, 3, D)).astype(np.float32)
    scores = multiple_negatives.candidates(vectors, np.ones(4), distinct(4, 3), 20.0, 1.0)
    x = torch.tensor(vectors)
    np.testing.assert_allclose(scores, 20 * cos(x[:, 0], torch.cat([x[:, 1], x[:, 2]])), atol=1e-5)

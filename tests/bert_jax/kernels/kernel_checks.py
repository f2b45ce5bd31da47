"""What every kernel must hold, whatever it runs on. `attend(q, k, v, segments)` is the kernel with all else bound."""

import attention_reference as reference
import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.modeling import visibility
from bert_jax.modeling.kernels import _dropout, xla


def values_and_gradients(attend):
    """The jitted (q, k, v, segments, gradient) → out, dq, dk, dv."""

    @jax.jit
    def run(q, k, v, segments, gradient):
        out, pull = jax.vjp(lambda q, k, v: attend(q, k, v, segments), q, k, v)
        return out, *pull(gradient)

    return run


def equal_to_the_definition(attend, arrays, scale, rows=None, tolerance=1e-5):
    """Values and gradients against NumPy float64, `tolerance` relative to the largest."""
    q, k, v, gradient, segments = arrays
    out, *gradients = values_and_gradients(attend)(q, k, v, segments, gradient)
    reference.close(out, reference.attend(q, k, v, segments, scale, rows), tolerance)
    wanted = reference.gradients(q, k, v, gradient, segments, scale, rows)
    for actual, exact in zip(gradients, wanted, strict=True):
        reference.close(actual, exact, tolerance)


def documents_do_not_see_each_other(attend, arrays):
    """Everything outside document 2 is perturbed: its outputs and gradients do not move by one bit."""
    q, k, v, gradient, segments = arrays
    ours = segments[0] == 2
    others = np.where(ours[None, :, None, None], 0, np.float32(7.25))
    run = values_and_gradients(attend)
    before = run(q, k, v, segments, gradient)
    after = run(*(x + others for x in (q, k, v)), segments, gradient + others)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[0, ours], np.asarray(b)[0, ours])
        assert not np.array_equal(np.asarray(a)[0, ~ours], np.asarray(b)[0, ~ours])


def padding_is_finite_and_without_gradient(attend, arrays):
    """Also where a whole row is padding."""
    q, k, v, gradient, segments = arrays
    counted = (segments > 0)[:, :, None, None]
    out, *gradients = values_and_gradients(attend)(q, k, v, segments, jnp.where(counted, gradient, 0))
    assert np.isfinite(out).all()
    for g in gradients:
        assert np.isfinite(g).all()
        assert (np.asarray(g)[segments == 0] == 0).all()
        assert (np.asarray(g)[segments > 0] != 0).any()


KINDS = ("window", "left to right", "prefix", "permutation, content", "permutation, queries", "all at once")
WINDOW = 3


def only_what_is_visible_counts(attend, kind, arrays, scale):
    """Values and gradients against NumPy with a mask made pair by pair; what a query does not see moves no bit of it.

    Args:
      attend: the kernel, with a `Visibility` in the place of segments.
      kind: one of KINDS.
    """
    q, k, v, gradient, segments = arrays
    seeing, seen = visible(kind, segments)
    run = values_and_gradients(attend)
    out, *gradients = run(q, k, v, seeing, gradient)
    reference.close(out, reference.attend(q, k, v, seen, scale), 1e-5)
    for actual, exact in zip(gradients, reference.gradients(q, k, v, gradient, seen, scale), strict=True):
        reference.close(actual, exact, 1e-5)
    query = int(np.flatnonzero(segments[0] == 2)[1])
    unseen = np.where(seen[0, query], 0, np.float32(7.25))[None, :, None, None]
    after, *_ = run(q, k + unseen, v + unseen, seeing, gradient)
    np.testing.assert_array_equal(np.asarray(out)[0, query], np.asarray(after)[0, query])


def only_a_window_counts(attend, arrays, window, scale, tolerance=1e-5):
    """Values and gradients against NumPy; what is further away, or in another document, moves no bit of any.

    Args:
      attend: the kernel, with a `Visibility` in the place of segments.
    """
    q, k, v, gradient, segments = arrays
    places = np.arange(q.shape[1])
    seen = (segments[:, :, None] == segments[:, None, :]) & (np.abs(places[:, None] - places) <= window)
    run, seeing = values_and_gradients(attend), visibility.within(jnp.asarray(segments), window)
    before = run(q, k, v, seeing, gradient)
    wanted = (
        reference.attend(q, k, v, seen, scale),
        *reference.gradients(q, k, v, gradient, seen, scale),
    )
    for actual, exact in zip(before, wanted, strict=True):
        reference.close(actual, exact, tolerance)
    for place in np.linspace(0, len(places) - 1, 13).astype(int):
        unseen = np.where(seen[:, place], 0, np.float32(7.25))[:, :, None, None]
        out, dq, *_ = run(q, k + unseen, v + unseen, seeing, gradient)
        *_, dk, dv = run(q + unseen, k, v, seeing, gradient + unseen)  # of a key, from the queries that see it
        for after, unmoved in zip((out, dq, dk, dv), before, strict=True):
            np.testing.assert_array_equal(np.asarray(after)[:, place], np.asarray(unmoved)[:, place])
            assert not np.array_equal(after, unmoved)


def visible(kind, segments):
    """The `Visibility` of a kind and the mask bool [B, L, L] that it stands for, made pair by pair."""
    rng = np.random.default_rng(0)
    rows, length = segments.shape
    prefix = rng.random(segments.shape) < 0.3
    order = np.stack([rng.permutation(length) for _ in range(rows)]).astype(np.int32)
    sees = {
        "window": lambda b, i, j: abs(i - j) <= WINDOW,
        "left to right": lambda b, i, j: j <= i,
        "prefix": lambda b, i, j: prefix[b, j] or (not prefix[b, i] and j <= i),
        "permutation, content": lambda b, i, j: order[b, j] <= order[b, i],
        "permutation, queries": lambda b, i, j: order[b, j] < order[b, i],
        "all at once": lambda b, i, j: (prefix[b, j] or (not prefix[b, i] and j <= i)) and abs(i - j) <= WINDOW,
    }[kind]
    seen = np.array(
        [
            [[segments[b, i] == segments[b, j] and sees(b, i, j) for j in range(length)] for i in range(length)]
            for b in range(rows)
        ]
    )
    asked = {
        "window": lambda s: visibility.within(s, WINDOW),
        "left to right": visibility.left_to_right,
        "prefix": lambda s: visibility.prefixed(s, jnp.asarray(prefix)),
        "permutation, content": lambda s: visibility.permuted(s, jnp.asarray(order), own=True),
        "permutation, queries": lambda s: visibility.permuted(s, jnp.asarray(order), own=False),
        "all at once": lambda s: visibility.prefixed(s, jnp.asarray(prefix), WINDOW),
    }[kind]
    return asked(jnp.asarray(segments)), seen


def dropout_mask(key, rate, shape, places=None):
    """bool [B, N, P, L]: what the TPU kernels' dropout keeps.

    Args:
      shape: B, N, P and L.
      places: int [B, P], the queries'; None: query i at place i.
    """
    rows, heads, queries, length = shape
    words = _dropout.words(key, jnp.arange(queries)[None] if places is None else places, rows, heads, length)
    of_heads = [words.heads[:, i, None, None] for i in range(2)]
    return _dropout.kept(words.queries[:, None, :, None], words.keys[:, None, None, :], of_heads, rate)


def dropout_is_that_of_the_mask(monkeypatch, attend, arrays, scale, window=None, places=None, addition=None):
    """Values and gradients against the reference kernel with the mask in the place of its own.

    Args:
      attend: the kernel, with a `Visibility` in the place of segments, a rate and a key.
      places: int [2, P], where queries stand; None: everywhere.
      addition: what the reference kernel takes.
    """
    q, k, v, gradient, segments = arrays
    seeing, key, rate = visibility.within(jnp.asarray(segments), window), jax.random.key(8), 0.3
    if places is not None:
        q, gradient = (np.take_along_axis(x, places[:, :, None, None], 1) for x in (q, gradient))
        seeing = seeing.at(places)
    mask = dropout_mask(key, rate, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]), places)
    monkeypatch.setattr(xla, "dropout_mask", lambda shape, rate, key: mask)
    plain = lambda *qkv: xla.attend(*qkv, seeing, scale=scale, addition=addition, rate=rate, key=key)
    wanted, pull = jax.vjp(plain, q, k, v)
    found = values_and_gradients(lambda *arguments: attend(*arguments, rate=rate, key=key))(q, k, v, seeing, gradient)
    for actual, exact in zip(found, (wanted, *pull(jnp.asarray(gradient))), strict=True):
        reference.close(actual, np.asarray(exact), 1e-5)
    assert not np.allclose(found[0], attend(q, k, v, seeing), atol=0.01)

"""What every kernel must hold, whatever it runs on. `attend(q, k, v, segments)` is the kernel with all else bound."""

import attention_reference as reference
import jax
import jax.numpy as jnp
import numpy as np


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

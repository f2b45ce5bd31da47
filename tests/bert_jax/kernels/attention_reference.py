"""Attention and its gradients in NumPy float64, from the definition: relative vectors are a [L, L, H] array here."""

import numpy as np

LENGTH, HEADS, SIZE = 37, 3, 5


def inputs(seed: int, length: int = LENGTH, heads: int = HEADS, size: int = SIZE, value_size: int | None = None):
    """Random q, k, v and output gradient [2, length, heads, size], and segments [2, length].

    Row 0 holds three documents and padding; row 1 is padding alone.
    """
    rng = np.random.default_rng(seed)
    draw = lambda size: rng.normal(size=(2, length, heads, size)).astype(np.float32)
    value_size = value_size or size
    q, k, v, gradient = draw(size), draw(size), draw(value_size), draw(value_size)
    segments = np.zeros((2, length), np.int32)
    first, second, third = length // 4, length // 2, length - 3
    segments[0, :first], segments[0, first:second], segments[0, second:third] = 1, 2, 3
    return q, k, v, gradient, segments


def table(distance: int, size: int) -> np.ndarray:
    """[2·distance + 1, size]: the sinusoid of the index, sine and cosine interleaved (1909.00204, section 3.1)."""
    out = np.zeros((2 * distance + 1, size))
    for p in range(len(out)):
        for c in range(size):
            angle = p / 10000 ** ((c - c % 2) / size)
            out[p, c] = np.cos(angle) if c % 2 else np.sin(angle)
    return out


def vectors(rows: np.ndarray, length: int) -> np.ndarray:
    """[2K+1, H] → [L, L, H]: row clip(j − i, −K, K) + K for query i and key j."""
    k = len(rows) // 2
    i, j = np.indices((length, length))
    return rows[np.clip(j - i, -k, k) + k]


def probabilities(q, k, segments, scale, relative):
    """[B, N, P, L]; relative [L, L, H] or None; segments [B, L], or bool [B, P, L]: what each query sees."""
    scores = np.einsum("binh,bjnh->bnij", q, k)
    if relative is not None:
        scores += np.einsum("binh,ijh->bnij", q, relative)
    seen = segments if segments.ndim == 3 else segments[:, :, None] == segments[:, None, :]
    scores = np.where(seen[:, None], scores * scale, -np.inf)
    e = np.exp(scores - np.where(seen.any(-1)[:, None], scores.max(-1), 0)[..., None])
    total = e.sum(-1, keepdims=True)
    return np.divide(e, total, out=np.zeros_like(e), where=total > 0)


def attend(q, k, v, segments, scale, rows=None):
    """[B, L, N, G]; `rows` is the table of relative vectors, [2K+1, H]."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    relative = None if rows is None else vectors(rows, q.shape[1])
    p = probabilities(q, k, segments, scale, relative)
    out = np.einsum("bnij,bjng->bing", p, v)
    return out if relative is None else out + np.einsum("bnij,ijg->bing", p, relative)


def gradients(q, k, v, gradient, segments, scale, rows=None):
    """Of sum(gradient · out) by q, k and v."""
    q, k, v, gradient = (np.asarray(x, np.float64) for x in (q, k, v, gradient))
    relative = None if rows is None else vectors(rows, q.shape[1])
    p = probabilities(q, k, segments, scale, relative)
    dp = np.einsum("bing,bjng->bnij", gradient, v)
    if relative is not None:
        dp += np.einsum("bing,ijg->bnij", gradient, relative)
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    dq = np.einsum("bnij,bjnh->binh", ds, k)
    if relative is not None:
        dq += np.einsum("bnij,ijh->binh", ds, relative)
    return dq, np.einsum("bnij,binh->bjnh", ds, q), np.einsum("bnij,bing->bjng", p, gradient)


def close(actual, wanted, tolerance: float) -> None:
    """Raises unless they differ by at most `tolerance` of the largest wanted value."""
    error = np.abs(np.asarray(actual, np.float64) - wanted).max() / np.abs(wanted).max()
    assert error <= tolerance, f"off by {error:.2e} of the largest value, more than {tolerance:.0e}"

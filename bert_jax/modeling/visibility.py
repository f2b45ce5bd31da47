"""Which keys a query sees, in vectors of the row's length: no array of queries by keys exists outside a kernel."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Visibility:
    """A query sees the keys of its own segment whose rank is at most its limit, and at most `window` positions away.

    Queries [B, P] may be the keys [B, L] themselves, some of their positions, or another sequence. Padding, segment 0,
    sees padding. A query that sees no key has output 0.
    """

    query_segments: jax.Array  # int [B, P]
    key_segments: jax.Array  # int [B, L]
    query_limits: jax.Array | None = None  # int [B, P]; None, as the ranks: no order
    key_ranks: jax.Array | None = None  # int [B, L]
    query_places: jax.Array | None = None  # int [B, P], where in the row a query stands; None: query i at position i
    window: int | None = dataclasses.field(default=None, metadata={"static": True})  # to each side; None: no window

    @property
    def ranked(self) -> bool:
        """Whether there is an order, so that a query may see no key."""
        return self.key_ranks is not None

    def at(self, places: jax.Array) -> "Visibility":
        """That of the queries at positions int [B, P] alone."""
        take = lambda x: jnp.take_along_axis(x, places, axis=1)
        return dataclasses.replace(
            self,
            query_segments=take(self.query_segments),
            query_limits=None if self.query_limits is None else take(self.query_limits),
            query_places=places if self.query_places is None else take(self.query_places),
        )

    def narrowed(self, window: int) -> "Visibility":
        """The same within a window of at most this many positions to each side."""
        return dataclasses.replace(self, window=window if self.window is None else min(window, self.window))

    def mask(self) -> jax.Array:
        """bool [B, P, L], for kernels that need a full mask."""
        seen = self.query_segments[:, :, None] == self.key_segments[:, None, :]
        if self.query_limits is not None and self.key_ranks is not None:
            seen &= self.key_ranks[:, None, :] <= self.query_limits[:, :, None]
        if self.window is not None:
            queries, keys = self.query_segments.shape[1], self.key_segments.shape[1]
            places = jnp.arange(queries)[None] if self.query_places is None else self.query_places
            apart = jnp.arange(keys)[None, None, :] - places[:, :, None]
            seen &= jnp.abs(apart) <= self.window
        return seen


def within(segments: jax.Array, window: int | None = None) -> Visibility:
    """Both directions within a segment; segments int [B, L]."""
    return Visibility(segments, segments, window=window)


def across(query_segments: jax.Array, key_segments: jax.Array) -> Visibility:
    """Cross-attention: queries [B, P] of one sequence see the keys [B, L] of another with the same segment."""
    return Visibility(query_segments, key_segments)


def left_to_right(segments: jax.Array, window: int | None = None) -> Visibility:
    """Each token sees itself and those before it."""
    return prefixed(segments, jnp.zeros(segments.shape, bool), window)


def prefixed(segments: jax.Array, prefix: jax.Array, window: int | None = None) -> Visibility:
    """Tokens of the prefix, bool [B, L], see each other; the others see it, themselves and the others before them.

    UniLM (Dong et al. 2019, arXiv 1905.03197, section 2.1).
    """
    ranks = jnp.where(prefix, -1, jnp.arange(segments.shape[1], dtype=jnp.int32))
    return Visibility(segments, segments, ranks, ranks, window=window)


def permuted(segments: jax.Array, order: jax.Array, *, own: bool) -> Visibility:
    """Each token sees those that come before it in `order`, int [B, L]; and itself, if `own`.

    The content stream of XLNet has `own`, the query stream has not (Yang et al. 2019, arXiv 1906.08237, section 2.3).
    """
    return Visibility(segments, segments, order if own else order - 1, order)

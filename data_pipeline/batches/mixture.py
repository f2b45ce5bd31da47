"""Weighted mixtures: the split of an example as a function of its number."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from data_pipeline.errors import DataError

_HALF = np.uint64(32)  # bits
_LOW = np.uint64((1 << 32) - 1)
_ONE = 1 << 64  # a share of 1


class Mixture:
    """An endless sequence of splits; every stretch of it, however short, is close to the weights.

    The largest split takes the examples at which its share of the examples so far, rounded, goes up by one; the next
    takes its share of the others in the same way, and so on. So of the first n examples, for any n, each of k splits
    has its share within k/2 examples, however small the share.

    Args:
      weights: one for each split, above 0; only their ratios count.

    Raises:
      DataError: a weight that is not positive, or below 1 in 2^64 of the others.
    """

    def __init__(self, weights: Sequence[float]):
        if not all(math.isfinite(weight) and weight > 0 for weight in weights):
            raise DataError(f"the weights of the mixture are {list(weights)}; each must be above 0")
        self._order = sorted(range(len(weights)), key=lambda split: -weights[split])
        exact = [Fraction(weights[split]) for split in self._order]
        if min(exact) * _ONE < sum(exact):
            raise DataError(f"the weights of the mixture are {list(weights)}: {min(weights)} is too small beside them")
        # Of each split but the last, its share of what the splits before it leave, in units of 2^-64.
        shares = [int(weight * _ONE / sum(exact[i:])) for i, weight in enumerate(exact[:-1])]
        self._shares = np.array(shares, np.uint64)

    def locate(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The split of each example [B] and its number within that split's own stream [B]."""
        splits = np.full(len(examples), self._order[-1], np.int64)
        numbers = examples.astype(np.uint64)
        open_ = np.ones(len(examples), bool)  # not taken by a split before
        for split, share in zip(self._order, self._shares, strict=False):
            taken = _of_share(numbers, share)
            takes = open_ & (_of_share(numbers + np.uint64(1), share) > taken)
            splits[takes] = split
            open_ &= ~takes
            numbers = np.where(takes, taken, np.where(open_, numbers - taken, numbers))
        return splits, numbers.astype(np.int64)


def _of_share(count: np.ndarray, share: np.uint64) -> np.ndarray:
    """count · share · 2^-64, rounded: the 128-bit product of its 32-bit halves."""
    low, high = count & _LOW, count >> _HALF
    share_low, share_high = share & _LOW, share >> _HALF
    lowest, middle, other_middle = low * share_low, high * share_low, low * share_high
    carry = (lowest >> _HALF) + (middle & _LOW) + (other_middle & _LOW)
    whole = high * share_high + (middle >> _HALF) + (other_middle >> _HALF) + (carry >> _HALF)
    return whole + (carry >> np.uint64(31) & np.uint64(1))

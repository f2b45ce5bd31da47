"""Weighted mixtures: which split an example comes from, by its number alone."""

from collections.abc import Sequence

import numpy as np

from data_pipeline.errors import DataError

_CYCLE = 1 << 16  # examples after which the pattern of splits repeats


class Mixture:
    """A fixed pattern of splits in which every stretch, however short, is near the weights.

    Args:
      weights: one for each split, above 0; only their ratios count, to 1 in 65,536.

    Raises:
      DataError: a weight that is not positive, or too small beside the others to have a place in the pattern.
    """

    def __init__(self, weights: Sequence[float]):
        shares = np.array(weights, np.float64)
        if not np.all(np.isfinite(shares) & (shares > 0)):
            raise DataError(f"the weights of the mixture are {list(weights)}; each must be above 0")
        self._counts = _apportion(shares / shares.sum())
        if not self._counts.all():
            split = int(np.argmin(self._counts))
            raise DataError(
                f"weight {weights[split]} of split {split} is below 1/{_CYCLE} of the mixture; raise it or leave it out"
            )
        splits = np.repeat(np.arange(len(shares)), self._counts)
        ranks = np.concatenate([np.arange(count) for count in self._counts])
        order = np.argsort((ranks + 0.5) / self._counts[splits], kind="stable")
        self._splits, self._ranks = splits[order], ranks[order]

    def locate(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The split of each example [B] and its number within that split's own stream [B]."""
        cycle, place = examples // _CYCLE, examples % _CYCLE
        splits = self._splits[place]
        return splits, cycle * self._counts[splits] + self._ranks[place]


def _apportion(shares: np.ndarray) -> np.ndarray:
    """Whole numbers that add up to the cycle, by largest remainder."""
    counts = np.floor(shares * _CYCLE).astype(np.int64)
    missing = _CYCLE - counts.sum()
    counts[np.argsort(counts - shares * _CYCLE, kind="stable")[:missing]] += 1
    return counts

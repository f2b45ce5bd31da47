"""Text that is not prose in any language: tables, code, listings, binary leftovers.

After the quality rules of Gopher (Rae et al. 2021, appendix A.1.1), which ask that 80% of the words have a letter
and that symbols are few for each word. Counted in characters here, so that languages without spaces are
treated the same; the class of a character is Unicode's general category.
"""

import functools
import unicodedata

import numpy as np

from configuration.variants import ConfigError
from data_pipeline.cleaning import Remove
from data_pipeline.cleaning._characters import code_points, table

_OTHER, _SPACE, _LETTER, _DIGIT, _SYMBOL = range(5)
_CLASSES = {"L": _LETTER, "M": _LETTER, "N": _DIGIT, "S": _SYMBOL}


def build(*, letters: float = 0.65, digits: float = 0.25, symbols: float = 0.1) -> Remove:
    """Shares of the characters that are not whitespace.

    Args:
      letters: at least so many are letters, or marks that belong to letters.
      digits: at most so many are digits.
      symbols: at most so many are mathematical, currency and other symbols, emoji among them.
    """
    for name, share in {"letters": letters, "digits": digits, "symbols": symbols}.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"config.data.cleaning: characters.{name}={share} must be a share between 0 and 1")
    return Remove(functools.partial(_reason, letters=letters, digits=digits, symbols=symbols))


def _reason(text: str, *, letters: float, digits: float, symbols: float) -> str:
    counts = np.bincount(_classes()[code_points(text)], minlength=5).tolist()
    total = sum(counts) - counts[_SPACE]
    if counts[_LETTER] < letters * total or not total:
        return "few letters"
    if counts[_DIGIT] > digits * total:
        return "many digits"
    if counts[_SYMBOL] > symbols * total:
        return "many symbols"
    return ""


@functools.cache
def _classes() -> np.ndarray:
    return table(_class)


def _class(character: str) -> int:
    return _SPACE if character.isspace() else _CLASSES.get(unicodedata.category(character)[0], _OTHER)

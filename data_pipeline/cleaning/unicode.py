"""Unicode normalisation: characters that look the same become the same (Unicode Standard Annex 15)."""

import functools
import unicodedata
from typing import Literal

from data_pipeline.cleaning import Rewrite


def build(*, form: Literal["NFC", "NFKC"] = "NFC") -> Rewrite:
    """Normalisation.

    Args:
      form: NFC joins letters and their accents; NFKC also makes full-width, superscript and other variants of a
        character the plain one, which loses what they meant.
    """
    return Rewrite(functools.partial(unicodedata.normalize, form))

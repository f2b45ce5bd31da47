"""Names of a list: of people, places or organisations, found as phrases.py finds its phrases.

For a stage of names after one of phrases (ERNIE 1.0, Sun et al. 2019, section 3.2), each with a list of its own: in
languages without capitals, which capitals.py goes by.
"""

from data_pipeline.annotations import Annotate, phrases
from data_pipeline.tokenizers import Tokenizer


def build(tokenizer: Tokenizer, *, file: str = "") -> Annotate:
    """Unit starts: of each name of several words, and of each word outside such names.

    Args:
      file: the list, in UTF-8, a name a line.

    Raises:
      ConfigError: there is no such file, or no name in it of at least two words or Chinese characters.
    """
    return phrases.unit_starts(tokenizer, file, "names.file")


def depends_on(*, file: str = "") -> dict[str, str]:
    """A hash of the list. Raises as `build`."""
    return {"file": phrases.list_hash(file, "names.file")}

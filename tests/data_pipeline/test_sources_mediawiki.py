"""MediaWiki dumps: articles only, markup gone, the same from every form of the file."""

import bz2
import html
import re
import time
from pathlib import Path

import pytest

from data_pipeline.errors import DataError
from data_pipeline.sources import Document, _files, mediawiki
from data_pipeline.sources._wikitext import plain

MARKUP = [
    ("'''Owls''' are [[bird]]s of ''[[prey (animal)|prey]]''.", "Owls are birds of prey."),
    ("{{Infobox|a={{b|c={{d}}}}\n|x=1}}Text{{cite|url=}} here.", "Text here."),
    ("One.<ref>Source {{cite}}</ref> Two.<ref name=\"a\" /> Three.<REF name=b>x</REF>", "One. Two. Three."),
    ("Before.\n{| class=wikitable\n|-\n| a\n{| nested\n| b\n|}\n|}\nAfter.", "Before.\nAfter."),
    ("[[File:Owl.jpg|thumb|An [[owl]] in a [[tree|big tree]].]]Seen.", "Seen."),
    ("[[Category:Birds]]\n[[de:Eulen]]\nText [[:Category:Birds|birds]].", "Text birds."),
    ("A [https://example.org/a the site] and [https://example.org] and https://example.org/x end.", None),
    ("== Life ==\nShe sang.\n=== Later ===\n* one\n** two\n# three", "Life\nShe sang.\nLater\none\ntwo\nthree"),
    ("Text.\n==See also==\n* [[A]]\n===More===\nx\n== Work ==\nMore.\n==Notes==\n{{reflist}}", "Text.\nWork\nMore."),
    ("<!-- hidden -->Shown<!-- open", "Shown"),
    ("x<sup>2</sup> is <math>x \\cdot x</math>big &amp; 5&nbsp;km<br/>next", "x2 is big & 5 km\nnext"),
    ("Owl ({{lang|la|bubo}}) and ( , ; ) eagle (real).", "Owl (bubo) and eagle (real)."),
    ("__NOTOC__[[Star Wars: A New Hope]] and [[Star Wars: A New Hope|film]]", "Star Wars: A New Hope and film"),
    ("{{unclosed [[open ''text'' '''''here'''''", None),
]  # fmt: skip


TEMPLATES = [
    ("{{convert|5|km}} long", "5 km long"),
    ("{{Convert|5|km|mi|abbr=on}}, {{cvt|2.5|sqmi|km2|0}}", "5 km, 2.5 sq mi"),
    ("{{convert|5|to|10|km|mi}}, {{convert|5|-|10|m}}, {{convert|3|x|4|ft}}", "5 to 10 km, 5–10 m, 3 × 4 ft"),
    ("{{convert|6|ft|2|in|m}} tall at {{convert|20|C}}", "6 ft 2 in tall at 20 °C"),
    ("{{convert}}, {{convert|km}}, {{convert|1,234.5}}.", ", , 1,234.5."),
    ("{{lang|la|bubo}}, {{Lang-de|Eule}}, {{langx|fr|hibou|lit=x}}", "bubo, Eule, hibou"),
    ("{{lang|fr|texte=le hibou}} {{lang|1=la|2=bubo}}", "le hibou bubo"),
    ("{{nowrap|a b}} {{small|c}} {{Abbr|d|long}} {{nobr| e }}", "a b c d e"),
    ("{{lang|la|[[Bubo bubo|the ''owl'']]}}s", "the owls"),
    ("{{nowrap|{{convert|5|{{nowrap|km}}}} and {{lang|la|{{small|x}}}}}}", "5 km and x"),
    ("{{transl|ru|sova}} {{transliteration|ru|ISO|sova}}", "sova sova"),
    ("{{circa|1850}}{{snd}}{{c.|1850|1860}}{{mdash}}x", "c. 1850 – c. 1850–1860—x"),
    ("{{frac|1|2}} {{frac|3|1|2}} {{sfrac|5}}", "1/2 3 1/2 1/5"),
    ("{{val|5|u=kg}} {{formatnum:5000}} {{US$|5}} {{USS|Enterprise|CV-6}}", "5 kg 5000 US$5 USS Enterprise"),
    ("{{blockquote|text=She said so.|author=A}}", "She said so."),
    ("{{Infobox|name={{lang|la|x}}|length={{convert|5|km}}}}A{{cite|x}}{{fact|date=May}}B{{anchor|c}}", "AB"),
    ("{{unknown|{{convert|5|km}}}}{{#if:x|y|z}}{{!}}{{lang}}{{lang|la}}{{}}{{|}}", ""),
]  # fmt: skip


@pytest.mark.parametrize(("markup", "expected"), TEMPLATES)
def test_templates_that_are_part_of_a_sentence(markup, expected):
    assert plain(markup) == expected


def test_templates_without_end_take_no_longer_than_the_text():
    """The square of these lengths would take hours."""
    started = time.process_time()
    for text in (
        "{{lang|la|" * 20_000 + "}}" * 20_000,
        "{{convert" + "|5|to" * 300_000 + "}}",
        "{{convert" + "|5|km" * 300_000 + "}}",
        "{{frac" + "|" * 1_000_000 + "}}",
        "{{lang|la|" + "[[a|" * 300_000 + "}}",
        "{{lang|la|" + "a = " * 300_000 + "}}",
        "{{" + "_ " * 500_000 + "}}",
        "{{nowrap|x}}" * 100_000,
        "{{chem|" + "{|}" * 300_000 + "}}",
    ):
        assert len(plain(text)) <= len(text)
    assert time.process_time() - started < 60


@pytest.mark.parametrize(("markup", "expected"), MARKUP)
def test_markup_is_removed(markup, expected):
    text = plain(markup)
    if expected is not None:
        assert text == expected
    assert not re.search(r"''|https?:|<\w|\{\||\|\}|<!--", text)


def test_long_and_hostile_markup_takes_no_time():
    for text in (
        "{{" * 20_000,
        "[[" * 20_000 + "]]" * 20_000,
        "{|\n" * 5_000,
        "<ref>" * 5_000,
        "(" * 20_000,
        "=" * 20_000,
    ):
        plain(text)


def page(title: str, text: str, namespace: int = 0, redirect: str = "") -> str:
    return (
        f"  <page>\n    <title>{html.escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>1</id>\n"
        + (f'    <redirect title="{redirect}" />\n' if redirect else "")
        + f'    <revision>\n      <text bytes="9" xml:space="preserve">{html.escape(text)}</text>\n'
        + "    </revision>\n  </page>\n"
    )


PAGES = [
    *(page(f"Owl & {i}", f"'''Owl {i}''' is a [[bird]] &ndash; é.\n\nIt flies <b>high</b>.") for i in range(31)),
    page("Talk", "chatter", namespace=1),
    page("Uhu", "#REDIRECT [[Owl]]", redirect="Owl"),
    page("Empty", "{{only a template}}"),
]
EXPECTED = [Document(f"Owl & {i}", f"Owl {i} is a bird – é.\nIt flies high.") for i in range(31)]
HEAD = '<mediawiki xml:lang="en">\n  <siteinfo><sitename>Test</sitename></siteinfo>\n'


def dump(path: Path, form: str) -> Path:
    streams = [HEAD, *("".join(PAGES[i : i + 4]) for i in range(0, len(PAGES), 4)), "</mediawiki>\n"]
    if form == "xml":
        path.write_text("".join(streams))
    elif form == "bz2":
        path.write_bytes(bz2.compress("".join(streams).encode()))
    else:
        path.write_bytes(b"".join(bz2.compress(stream.encode()) for stream in streams))
    return path


def read(path: Path) -> list[Document]:
    source = mediawiki.build(Path("unused"), paths=str(path))
    parts = list(source.parts())
    assert 0 < sum(part.size for part in parts) <= source.size
    return [document for part in parts for document in part.read()]


@pytest.mark.parametrize("form", ["xml", "bz2", "multistream"])
@pytest.mark.parametrize("block", [100, 700, 1 << 20])
def test_articles_only(tmp_path, monkeypatch, form, block):
    monkeypatch.setattr(_files, "PART_BYTES", block)
    assert read(dump(tmp_path / ("a.xml" if form == "xml" else "a.xml.bz2"), form)) == EXPECTED


@pytest.mark.parametrize("form", ["bz2", "multistream"])
def test_a_cut_dump(tmp_path, form):
    path = dump(tmp_path / "a.xml.bz2", form)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.xml\.bz2 cannot be unpacked.*; fetch it again"):
        read(path)


def test_not_a_dump(tmp_path, monkeypatch):
    monkeypatch.setattr(mediawiki, "_LONGEST_PAGE", 1000)
    monkeypatch.setattr(_files, "PART_BYTES", 500)
    (tmp_path / "a.xml").write_text("<x>" * 1000)
    with pytest.raises(DataError, match="is it a pages-articles dump"):
        read(tmp_path / "a.xml")


def test_references_that_never_end_take_no_longer_than_the_text():
    """The square of this length would take hours."""
    text = "Prose. " + "<ref>" * 300_000 + "<math " * 300_000 + "End."
    found = plain(text)
    assert found.startswith("Prose.")
    assert found.endswith("End.")
    assert plain('A<ref name="x"/> b<REF>c</ref > d<ref>e</ref>.') == "A b d."


@pytest.mark.parametrize("opened", ["<page>", "<page><title>", "<page><text ", "<page><title>a</title><text>"])
def test_elements_that_never_end_take_no_longer_than_the_text(tmp_path, opened):
    pages = "<page><title>A</title><text>Owls see.</text></page>"
    for end in ("", "</page>"):
        (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}{opened * 60_000}{end}")
        begin = time.perf_counter()
        documents = [d for part in mediawiki.build(tmp_path, paths=str(tmp_path)).parts() for d in part.read()]
        assert documents[0] == Document("A", "Owls see.")
        assert time.perf_counter() - begin < 5

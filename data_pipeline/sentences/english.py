"""English sentences: an end mark, what closes it, whitespace, and a start that is not lower case.

"." does not end a sentence after an initial ("J. Smith"), a title ("Dr. Jones") or another
abbreviation that a name or number follows. After the abbreviations that often do end a sentence
("U.S.", "Inc.", "p.m.") it does when the next word is one that mostly starts sentences.
Decimal points need no rule: no whitespace follows them.
"""

import functools
import re

from data_pipeline.sentences import Splitter

_BREAK = re.compile(r"[.!?…][\"'”’»)\]]*\s+(?=[^a-z\s])")
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n")
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘«—–-]+\Z")  # the word before a point, and the points within it
_FIRST_WORD = re.compile(r"[\"'“‘«(\[]*([A-Za-z]+)")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


_BEFORE_NAMES = _words(
    "adm asst brig capt cmdr col comdr cpl dr fr gen gov hon lt maj messrs mlle mme mr mrs ms msgr mt mx pfc pres prof"
    " pvt rep reps rev rt sen sens sgt st supt vs v viz cf ca e.g i.e eg ie al op tr dept univ assn approx est ft jan"
    " feb apr jun jul aug sep sept oct nov dec"
)
_BEFORE_NUMBERS = _words("no nos fig figs vol vols ch sec art par p pp mar")
_MAY_END = _words(
    "etc inc ltd co corp llc plc jr sr esq bros ph.d m.d b.a m.a b.s m.s d.c a.m p.m u.s u.k u.n e.u u.s.a u.s.s.r b.c"
    " a.d b.c.e c.e ave blvd rd"
)
_STARTERS = _words(
    "a after again all also although among an and another any as at because before both but by despite during each"
    " even every few for from he her here his how however i if in instead it its later many meanwhile more moreover"
    " most my nevertheless no nor not now on once one only or other others our she since so some still such that the"
    " their then there these they this those though through thus to today under unlike until we what when where"
    " whether which while who why with yet you your"
)
_ABBREVIATIONS = _BEFORE_NAMES | _BEFORE_NUMBERS | _MAY_END


def build(*, wrapped: bool = False) -> Splitter:
    """English.

    Args:
      wrapped: lines are broken anywhere, so that only an empty line ends a paragraph. Otherwise
        every line end ends a sentence, as in text of one paragraph a line.
    """

    def split(text: str) -> list[str]:
        paragraphs = _PARAGRAPHS.split(text) if wrapped else text.split("\n")
        return [sentence for paragraph in paragraphs for sentence in _sentences(paragraph)]

    return split


def _sentences(paragraph: str) -> list[str]:
    sentences, start = [], 0
    for match in _BREAK.finditer(paragraph):
        point, end = match.span()
        if paragraph[point] == ".":
            before = paragraph[max(start, point - 40) : point]
            if not _ordinary(before[before.rfind(" ") + 1 :]) and not _point_ends(paragraph, start, point, end):
                continue
        sentences.append(paragraph[start:end].strip())
        start = end
    rest = paragraph[start:].strip()
    return [*sentences, rest] if rest else sentences


@functools.lru_cache(1 << 15)
def _ordinary(word: str) -> bool:
    """Whether a point behind this word ends the sentence whatever follows, as most often."""
    return word.isalpha() and len(word) > 1 and word.lower() not in _ABBREVIATIONS


def _point_ends(paragraph: str, start: int, point: int, following: int) -> bool:
    """Whether the point at `point`, in a sentence from `start`, ends it before the text at `following`."""
    match = _LAST_WORD.search(paragraph, max(start, point - 40), point)
    if match is None:
        return True
    word = match[0]
    if len(word) == 1 and word.isupper() and word != "I":
        return _starts_sentence(paragraph, following) and not _initial(paragraph, match.start())
    lower = word.lower()
    if lower in _BEFORE_NAMES:
        return False
    if lower in _BEFORE_NUMBERS:
        return not paragraph[following].isdigit()
    if lower in _MAY_END or (len(word) == 3 and word[1] == "." and word.isupper()):
        return _starts_sentence(paragraph, following)
    return True


def _initial(paragraph: str, position: int) -> bool:
    """Whether a capital stands where a name's initial does: at the start, or after a capitalised word."""
    before = paragraph[max(0, position - 40) : position].split()
    return not before or before[-1][0].isupper()


def _starts_sentence(paragraph: str, position: int) -> bool:
    match = _FIRST_WORD.match(paragraph, position)
    return match is not None and match[1].lower() in _STARTERS

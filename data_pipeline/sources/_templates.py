"""Templates of Wikipedia whose text a reader sees in the middle of a sentence; all others are left out.

A template is expanded here from its own arguments alone: that of `{{convert|5|km}}` is "5 km", without the conversion.
"""

import re
from collections.abc import Callable

# Arguments by position, from 0, and by name; each stripped.
_Expand = Callable[[list[str], dict[str, str]], str]

_NAMED = re.compile(r"\s*([\w -]{1,40})=")
_NUMBER = re.compile(r"[-+−]?[\d.,/⁄+½¼¾]+")
_MOST_VALUES = 20  # and units of a conversion that are read
_RANGES = {"to": " to ", "-": "–", "–": "–", "to(-)": "–", "and": " and ", "or": " or ", "by": " by ", "x": " × "}
_RANGES |= {"×": " × ", "*": " × ", "xx": " × ", "+/-": " ± ", "±": " ± ", ",": ", ", "and(-)": " and "}
_UNITS = {"sqmi": "sq mi", "sqft": "sq ft", "km2": "km²", "m2": "m²", "cm2": "cm²", "m3": "m³", "km3": "km³"}
_UNITS |= {"C": "°C", "F": "°F", "C-change": "°C", "F-change": "°F", "cuft": "cu ft", "cuin": "cu in", "ftin": "ft"}


def expand(content: str) -> str:
    """The text of a template by what stands between its braces, with no template in it; "" for one left out."""
    name, *arguments = content.split("|")
    name = " ".join(name.replace("_", " ").split()).lower()
    if name.startswith("formatnum:"):
        return name.removeprefix("formatnum:").strip()
    if name.startswith("lang-"):
        return _at(0)(*_sorted(arguments))
    found = _TEMPLATES.get(name)
    return found(*_sorted(arguments)) if found else ""


def _sorted(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    by_place, by_name = [], {}
    for argument in arguments:
        name = _NAMED.match(argument)
        if name:
            by_name[name[1].strip().lower()] = argument[name.end() :].strip()
        else:
            by_place.append(argument.strip())
    return by_place, by_name


def _at(place: int, *names: str, before: str = "") -> _Expand:
    """The argument at a position, counted from 0, or that of one of the names."""

    def text(by_place: list[str], by_name: dict[str, str]) -> str:
        named = next((by_name[name] for name in (*names, str(place + 1)) if by_name.get(name)), "")
        found = named or (by_place[place] if place < len(by_place) else "")
        return before + found if found else ""

    return text


def _last(by_place: list[str], by_name: dict[str, str]) -> str:
    return by_place[-1] if by_place else by_name.get("3", by_name.get("2", ""))


def _always(text: str) -> _Expand:
    return lambda by_place, by_name: text


def _joined(sign: str) -> _Expand:
    return lambda by_place, by_name: sign.join(filter(None, by_place))


def _convert(by_place: list[str], by_name: dict[str, str]) -> str:
    """Values and units as they are given: 5 km, 5–10 km, 6 ft 2 in."""
    del by_name
    words, rest = "", by_place[:_MOST_VALUES]
    while rest and _NUMBER.fullmatch(rest[0]):
        words += f" {rest.pop(0)}" if words else rest.pop(0)
        while len(rest) > 1 and rest[0] in _RANGES:
            words += _RANGES[rest[0]] + rest[1]
            rest = rest[2:]
        words += f" {_UNITS.get(rest[0], rest[0])}" if rest else ""
        rest = rest[1:]
    return words


def _value(by_place: list[str], by_name: dict[str, str]) -> str:
    return " ".join(filter(None, [by_place[0] if by_place else "", by_name.get("u", by_name.get("ul", ""))]))


def _fraction(by_place: list[str], by_name: dict[str, str]) -> str:
    del by_name
    parts = list(filter(None, by_place))[:3]
    if len(parts) > 2:
        return f"{parts[0]} {parts[1]}/{parts[2]}"
    return "/".join(["1", *parts][-2:]) if parts else ""


def _years(before: str) -> _Expand:
    return lambda by_place, by_name: f"{before} {'–'.join(filter(None, by_place[:2]))}" if by_place else ""


_FIRST = """nowrap nobr nobreak nobold noitalic nonitalic normal small smaller big larger large em strong sc smallcaps
    sc1 abbr tooltip sup sub chem2 math mvar tmath linktext ill interlanguage_link sic not_a_typo as_written typo
    visible_anchor vanchor flag flagcountry flagu nihongo nihongo2 title_case underline strikethrough var code mono
    samp kbd quote_box okina text number_sign bold italic"""
_QUOTES = "quote blockquote cquote quotation bquote poem_quote zitat"
_SECOND = "lang color font_color colour lang_x langx script fontcolor"
_SHIPS = "uss hms hmas hmcs hmnzs rms ss sms"

_TEMPLATES: dict[str, _Expand] = {
    **{name.replace("_", " "): _at(0) for name in _FIRST.split()},
    **{name.replace("_", " "): _at(0, "text", "quote") for name in _QUOTES.split()},
    **{name.replace("_", " "): _at(1, "text", "texte") for name in _SECOND.split()},
    **{name: _at(0, before=f"{name.upper()} ") for name in _SHIPS.split()},
    **dict.fromkeys(("convert", "cvt", "conv"), _convert),
    **dict.fromkeys(("frac", "sfrac", "fraction"), _fraction),
    **dict.fromkeys(("transl", "transliteration", "translit", "tlit"), _last),
    **dict.fromkeys(("circa", "c.", "ca.", "ca"), _years("c.")),
    **dict.fromkeys(("floruit", "fl.", "fl"), _years("fl.")),
    **dict.fromkeys(("reign", "r."), _years("r.")),
    **dict.fromkeys(("snd", "spnd", "spaced ndash", "spaced en dash", "sndash"), _always(" – ")),
    **dict.fromkeys(("ndash", "en dash", "–"), _always("–")),
    **dict.fromkeys(("mdash", "em dash", "—"), _always("—")),
    **dict.fromkeys(("nbsp", "space", "spaces", "thinsp", "hairsp"), _always(" ")),
    **dict.fromkeys(("unité", "unite", "unit"), _joined(" ")),
    **dict.fromkeys(("'", "`", "apostrophe"), _always("'")),
    "=": _always("="),
    "as of": _at(0, before="As of "),
    "since": _at(0, before="since "),
    "chem": _joined(""),
    "val": _value,
    "us$": _at(0, before="US$"),
    "usd": _at(0, before="US$"),
    "£": _at(0, before="£"),
    "gbp": _at(0, before="£"),
    "€": _at(0, before="€"),
    "euro": _at(0, before="€"),
    "¥": _at(0, before="¥"),
    "inr": _at(0, before="₹"),
}

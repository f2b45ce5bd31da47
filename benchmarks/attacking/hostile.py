"""What programs trip over: values of JSON, texts, files. The tests draw from the same lists."""

import json
import random
from typing import Any

DEEP = 20_000  # levels of nesting
VALUES = [
    None, True, False, 0, -1, 1, 2.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63) - 1, 10**12,
    10**40, "", "x", " ", "0", "12", "NaN", "\ud800", "\0", "../../outside", "/etc/passwd", "a" * 5000, [], {}, [0],
    ["x"], [[]], [None], {"x": 1}, {"": {}}, [1, "x", None],
]  # fmt: skip
TEXTS = [
    "",
    " ",
    "Hello, world!",
    "naïve café Ångström ﬁnd ① ½ ﷺ",
    "cafe\u0301 e\u0301\u0323 \u0308alone",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 ☃️",
    "tab\tnewline\nreturn\r\nvertical\x0bform\x0cfile\x1cgroup\x1d",
    "control \x00\x01\x7f\x80 \x85 inside\x00a word",
    "no\u00a0break thin\u2009space ideographic\u3000space line\u2028paragraph\u2029",
    "zero\u200bwidth joiner\u200dnon\u200cjoiner mark\ufeff\u00ad\u2060",
    "many      spaces" + " " * 300 + "end   ",
    "a" * 8,
    "a" * 10_000,
    "中文混合English和кириллица",
    "ＦＵＬＬ width ［ＭＡＳＫ］ ［ＣＬＳ］",
    "السلام عليكم وَرَحْمَةُ",
    "हिन्दी ไทย한국어ᄒᆞᆫ",
    "x[MASK]y [MASK] [CLS][SEP] [PAD] [UNK] [MA\x00SK]",
    "▁under▁score ▁ _ ##continued Ġspace",
    "don't can’t 3.14 $1,000.00 a_b a-b a/b",
    "İstanbul ΣΊΣΥΦΟΣ Straße",
    "w" * 99 + " " + "w" * 100 + " " + "w" * 101,
    "\ue000\U000f0000\U0001f9ff\u0378\ufffd",
]


def spoil(tree: Any, chance: random.Random) -> Any:
    """A copy of what a JSON file holds, with a value somewhere replaced, left out, nested deep or renamed."""
    places = list(_places(tree))
    if not places or chance.random() < 0.05:
        return value(chance)
    path = chance.choice(places)
    copy = json.loads(json.dumps(tree))
    within = copy
    for part in path[:-1]:
        within = within[part]
    last, way = path[-1], chance.random()
    if way < 0.1:
        del within[last]
    elif way < 0.2 and isinstance(within, dict):
        within[chance.choice(("x", f"{last}s", "", "__class__"))] = within.pop(last)
    else:
        within[last] = value(chance)
    return copy


def value(chance: random.Random) -> Any:
    """A hostile value."""
    return "DEEP" if chance.random() < 0.04 else chance.choice(VALUES)


def dumps(tree: Any) -> bytes:
    """JSON as Python writes it, with NaN and half surrogates; what is to be deep becomes so."""
    deep = "[" * DEEP + "]" * DEEP
    return json.dumps(tree).replace('"DEEP"', deep).encode()


def _places(tree: Any, within: tuple[Any, ...] = ()) -> Any:
    """The path of every value; of a long list the first ones and the last."""
    if isinstance(tree, dict):
        items = list(tree.items())
    elif isinstance(tree, list):
        items = list(enumerate(tree))
    else:
        return
    for name, inner in items if len(items) < 40 else [*items[:20], *items[-3:]]:
        yield (*within, name)
        yield from _places(inner, (*within, name))

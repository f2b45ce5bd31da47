"""Text that tokenizers trip over."""

from hypothesis import strategies as st

EXAMPLES = [
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

_CHARACTERS = st.sampled_from(sorted(set("".join(EXAMPLES)) - {"w"})) | st.characters(exclude_categories=["Cs"])
_WORDS = st.sampled_from([word for text in EXAMPLES for word in text.split(" ") if len(word) < 20])

texts = (
    st.sampled_from(EXAMPLES)
    | st.text(alphabet=_CHARACTERS, max_size=40)
    | st.lists(_WORDS, max_size=8).map(" ".join)
    | st.lists(_WORDS, max_size=5).map("".join)
)

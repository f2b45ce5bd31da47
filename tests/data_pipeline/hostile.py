"""Text that tokenizers trip over."""

from hypothesis import strategies as st

from benchmarks.attacking.hostile import TEXTS

EXAMPLES = TEXTS

_CHARACTERS = st.sampled_from(sorted(set("".join(EXAMPLES)) - {"w"})) | st.characters(exclude_categories=["Cs"])
_WORDS = st.sampled_from([word for text in EXAMPLES for word in text.split(" ") if len(word) < 20])

texts = (
    st.sampled_from(EXAMPLES)
    | st.text(alphabet=_CHARACTERS, max_size=40)
    | st.lists(_WORDS, max_size=8).map(" ".join)
    | st.lists(_WORDS, max_size=5).map("".join)
)

"""Sentence splitting: no text is lost, and points that end nothing end nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.sentences import chinese, english, newline

ENGLISH = [
    "Dr. Smith paid $3.50 to J. R. R. Tolkien in the U.S. Senate.|He left at 5 p.m. on Monday.",
    'He said "Stop!"|Then he left.|"Why?" she asked.',
    "See Fig. 3 and vol. 12, pp. 3.5 to 4.|No. 7 came next.|The answer is no.|Yes.",
    "He moved to the U.S.|The rest stayed with Acme Inc.|They did well.",
    "The end...|Maybe.|(It was.)|¿Really?|“Yes.”|And so on, etc. and so forth.",
    "George W. Bush met Mr. and Mrs. Jones et al. Tuesday.",
    "Version 2.5 is out!|It costs £1.000,50.|Ümit agreed.",
    "A line\r|ends here|Another one.",
    "no end mark",
]


@pytest.mark.parametrize("text", ENGLISH)
def test_english(text):
    pieces = text.split("|")
    joined = " ".join(pieces) if "\r" not in text else "\n".join(pieces)
    assert english.build()(joined) == [piece.strip() for piece in pieces]


def test_english_wrapped_lines():
    text = "It was a dark\nand stormy night.\nThe rain\nfell\n\nA heading\n  \nMore."
    split = english.build(wrapped=True)(text)
    assert split == ["It was a dark\nand stormy night.", "The rain\nfell", "A heading", "More."]


def test_newline():
    assert newline.build()(" one. two\r\n\n \nthree") == ["one. two", "three"]


@pytest.mark.parametrize("split", [english.build(), english.build(wrapped=True), newline.build(), chinese.build()])
@given(text=st.text(alphabet=st.sampled_from("aB.!?…\"'”) \n\t\u00a0 3,éUSDr中。！？…」”")) | st.text())
def test_nothing_is_lost_and_nothing_is_empty(split, text):
    sentences = split(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)


CHINESE = [
    "话说天下大势，分久必合，合久必分。|周末七国分争，并入于秦！|“真的吗？”|他问。",
    "他说：“好……我去。”|走了……再来。|价格是3.5元。|完了！！！」|好",
    "「走吧！」|她說，「快點……」|然後（真的。）|結束…",
    "他用的是Python 3.11。|Dr. Smith left.|Then he came.|再见",
]


@pytest.mark.parametrize("text", CHINESE)
def test_chinese(text):
    pieces = text.split("|")
    joined = "".join(f"{piece} " if piece.endswith(".") else piece for piece in pieces)
    assert chinese.build()(joined) == pieces

"""Chinese sentences: an end mark and the quotes and brackets that close after it.

`……` ends a sentence only where a quote closes or the line ends; elsewhere it is a pause. English
sentences within follow their own rule.
"""

import re

from data_pipeline.sentences import Splitter, english

_CLOSING = r"”’」』》〉）】〕\"')\]"
_BREAK = re.compile(f"(?:[。！？｡]+[{_CLOSING}]*|…+[{_CLOSING}]+)(?![{_CLOSING}。！？｡…，、；：,;:])")
_ENGLISH_MARK = re.compile("[.!?…]")


def build() -> Splitter:
    english_sentences = english.build()

    def split(text: str) -> list[str]:
        sentences = []
        for line in text.split("\n"):
            start = 0
            for match in [*_BREAK.finditer(line), None]:
                sentence = line[start : match.end() if match else len(line)]
                if _ENGLISH_MARK.search(sentence):
                    sentences += english_sentences(sentence)
                elif stripped := sentence.strip():  # as most
                    sentences.append(stripped)
                start = match.end() if match else start
        return sentences

    return split

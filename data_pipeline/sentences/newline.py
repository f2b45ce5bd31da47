"""One sentence a line: for text that is split already, and for languages without a file of their own."""

from data_pipeline.sentences import Splitter


def build() -> Splitter:
    return split


def split(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]

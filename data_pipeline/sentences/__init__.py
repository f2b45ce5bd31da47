"""Where sentences end: one language or rule a file.

A file's `build(*, …options)` gives a function from a document's text to its sentences, in order:
strings that are not empty, without whitespace around them.
"""

from collections.abc import Callable

Splitter = Callable[[str], list[str]]

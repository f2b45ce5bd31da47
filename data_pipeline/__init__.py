"""From text to batches: `preparing` makes the `store` of the text, `batches` reads rows from it.

Variants, one a file: `sources`, `cleaning`, `sentences`, `tokenizers`, `words`, `annotations`, `rows`, `labelled`.
"""

from configuration import early

early.begin()

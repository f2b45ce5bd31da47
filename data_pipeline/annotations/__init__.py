"""Annotations of the tokens in the store: one a file, which gives the annotation its name.

A file's `build(tokenizer, *, …options)` gives a function from the ids of sentences, one after the other, their lengths
and which tokens start a word, (uint32 [n], [s], bool [n]), to

    bool [n]     which tokens start a unit: a phrase, an entity, or a word that is in none
    uint8 [n]    a label of each token, 0 for none

An objective that needs an annotation finds it in the batch under its name. `word_starts`, which every store has, comes
from data_pipeline/words. `depends_on(*, …options) -> dict[str, str]`, where a file has it, says what else decides the
annotation, such as a hash of a list; a store of another is refused.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from configuration.variants import ConfigError, Variant, load
from configuration.variants import names as names_of_variants
from data_pipeline.tokenizers import Tokenizer

Annotate = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
WORD_STARTS = "word_starts"


def build_all(words: Variant, chosen: Sequence[Variant], tokenizer: Tokenizer) -> dict[str, Annotate]:
    """The functions of the configured annotations by name, word starts first.

    Args:
      words: a file of data_pipeline/words.
      chosen: files of this folder.

    Raises:
      ConfigError: no such variant, one that does not suit the tokenizer, or two of one name.
    """
    word_starts = load("data_pipeline.words", words)(tokenizer)
    built: dict[str, Annotate] = {WORD_STARTS: lambda tokens, lengths, _: word_starts(tokens, lengths)}
    for variant in chosen:
        name = variant.name.rpartition(".")[2]
        if name in built:
            raise ConfigError(f"config.data.annotations has two of the name {name!r}; give one of them another file")
        built[name] = load("data_pipeline.annotations", variant)(tokenizer)
    return built


def annotated(functions: Mapping[str, Annotate], tokens: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
    """The annotations of the tokens [n] of sentences of these lengths [s]. A sentence starts with a unit."""
    firsts = (np.cumsum(lengths) - lengths)[lengths > 0]
    values: dict[str, np.ndarray] = {}
    for name, annotate in functions.items():
        values[name] = annotate(tokens, lengths, values.get(WORD_STARTS, np.zeros(0, bool)))
        if values[name].dtype == bool:
            values[name][firsts] = True
    return values


def remedy(name: str) -> str:
    """What to do about a batch field that is missing, if it is an annotation; else nothing."""
    if name not in names_of_variants("data_pipeline.annotations"):
        return ""
    return f"prepare a store with config.data.annotations=(use({name!r}),)"

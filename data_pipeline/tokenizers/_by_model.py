"""The ids of texts by a tokenizer's model alone, from the quickest library that is sure to give the same."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipeline.tokenizers._remembered import Encoded, one_after_the_other

ByModel = Callable[[Sequence[str]], Encoded]
STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding")  # around the model


def by_model(backend: Any, normalize: Callable[[str], str]) -> ByModel:
    """What the model of a tokenizer makes of texts, each by itself.

    Args:
      backend: of the library `tokenizers`.
      normalize: what all texts have been through.
    """
    definition = json.loads(backend.to_str())
    specials = [token["content"] for token in definition["added_tokens"]]
    if is_plain(definition["model"], specials) and not any(special in normalize(special) for special in specials):
        return by_kitoken(definition)
    return by_tokenizers(backend)


def is_plain(model: Mapping[str, Any], specials: Sequence[str]) -> bool:
    """Whether both libraries find the same pieces: those of the highest sum of scores, and where two are equal, alike.

    They differ in characters that some pieces have and none is. `kitoken` has scores in float32, and a reader of JSON
    that rounds a score in its last place decides between equals; those of tokenizers trained here suffer neither.
    """
    if model["type"] != "Unigram" or model["unk_id"] is None or model.get("byte_fallback"):
        return False
    scores = np.array([score for _, score in model["vocab"]], np.float64)
    pieces = {piece for piece, _ in model["vocab"]} - set(specials)
    exact = np.array_equal(scores, scores.astype(np.float32))
    return exact and pieces.issuperset(itertools.chain.from_iterable(pieces))


def by_kitoken(definition: Mapping[str, Any]) -> ByModel:
    """In a third of the time."""
    import kitoken

    model_alone = {**definition, **dict.fromkeys(STEPS)}
    encode = kitoken.Kitoken.from_tokenizers(json.dumps(model_alone).encode()).encode_all
    return lambda texts: one_after_the_other(encode(list(texts)))


def by_tokenizers(backend: Any) -> ByModel:
    """In one call of the library."""
    import tokenizers

    model = tokenizers.Tokenizer(backend.model)

    def encode(texts: Sequence[str]) -> Encoded:
        encoding = model.encode(texts, is_pretokenized=True, add_special_tokens=False)
        lengths = np.bincount(np.array(encoding.word_ids, np.int64), minlength=len(texts))
        return np.array(encoding.ids, np.uint32), lengths

    return encode

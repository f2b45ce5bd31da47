"""A tiny encoder with a tokenizer of letters, and texts of many lengths."""

import jax
import numpy as np

from bert_jax.config import Model
from bert_jax.encoder import Encoder
from bert_jax.modeling import bert
from data_pipeline.tokenizers import Tokenizer, sentencepiece

TEXT = "the river bends and the old mill turns its wheel as the water runs down to the sea"
WORDS = TEXT.split()


def make_tokenizer() -> Tokenizer:
    return sentencepiece.build(lambda: {word: 1 + i for i, word in enumerate(WORDS)}, vocab_size=30)


def make_model(tokenizer: Tokenizer, **changes: object) -> Model:
    sizes = {"layers": 3, "width": 12, "heads": 3, "mlp_width": 20, "max_length": 100, "init_std": 0.3}
    return Model(vocab_size=tokenizer.vocab_size, **(sizes | changes))


def make_encoder(**changes: object) -> Encoder:
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, **changes)
    return Encoder(model, bert.init(model, jax.random.key(0)), tokenizer)


def make_texts(number: int, longest: int = 12, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(0, longest + 1))) for _ in range(number)]

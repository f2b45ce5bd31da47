"""Whether a token stands in another part of its document too (ERNIE 2.0, arXiv 1907.12412, section 4.2.1).

The paper asks whether a token of a segment appears in other segments of the document. Here each text of a row is cut in
its middle, its halves do not see each other, and each token is asked whether it stands in the other half.
"""

from typing import Any

import jax
import jax.numpy as jnp

from bert_jax.config import Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.parts import Parts
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _own_head, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from configuration.variants import ConfigError

HEAD = "document_head"


def parts(model: Model) -> Parts:
    """The head: not there, or there."""
    return {HEAD: _own_head.part(model, 2)}


def exported(model: Model) -> dict[str, str]:
    """The head's names."""
    return _own_head.exported(HEAD, model)


def build(model: Model, vocabulary: Vocabulary) -> Objective:
    """The objective; it has no options.

    Raises:
      ConfigError: the halves would see each other.
    """
    if not model.isolate_documents:
        raise ConfigError(
            "config.objective is token_document, whose halves of a text must not see each other: set "
            "config.model.isolate_documents=true"
        )

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """Adds segments of halves, stands_elsewhere (int32 [B, L]) and token_weights (float [B, L], of sum 1)."""
        del key
        tokens = jnp.asarray(batch["tokens"], jnp.int32)
        text = mlm.is_text(tokens, batch["segments"], vocabulary)
        number, half, asked = halves(batch, text)
        other = (number[:, :, None] == number[:, None]) & (half[:, :, None] != half[:, None])
        same = (tokens[:, :, None] == tokens[:, None]) & text[:, None]
        segments = jnp.where(batch["segments"] > 0, 2 * number + half + 1, 0)
        return batch | {
            "tokens": tokens,
            "segments": segments.astype(jnp.int32),
            "stands_elsewhere": (other & same).any(2).astype(jnp.int32),
            "token_weights": normalized((text & asked).astype(jnp.float32)),
        }

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The mean of −log p over all tokens of text, and the accuracy; `elsewhere` is the share of those there."""
        del constants
        choice = _own_head.logits(model, params, HEAD, encode(model, params, batch, key))
        loss, accuracy = cross_entropy(choice, batch["stands_elsewhere"], batch["token_weights"])
        return loss, {"accuracy": accuracy, "elsewhere": (batch["stands_elsewhere"] * batch["token_weights"]).sum()}

    return Objective(corrupt, loss)


def halves(batch: Batch, text: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The number of each token's text in its row, from 0, and its half of that text, 0 or 1; both int32 [B, L].

    Also bool [B, L]: whether both halves of the text have tokens. A text is a document, or one part of a pair.

    Args:
      text: bool [B, L], the tokens that are neither special nor padding.
    """
    changes = [batch[name][:, 1:] != batch[name][:, :-1] for name in ("segments", "token_types")]
    opens = jnp.pad(changes[0] | changes[1], ((0, 0), (1, 0)))
    number = jnp.cumsum(opens, axis=1, dtype=jnp.int32)
    length = text.shape[1]
    sizes = jax.vmap(lambda text, number: jnp.zeros(length, jnp.int32).at[number].add(text))(text, number)
    size = jnp.take_along_axis(sizes, number, axis=1)
    before_all = jnp.cumsum(text, axis=1) - text
    first = jax.lax.cummax(jnp.where(opens, before_all, 0), axis=1)
    half = before_all - first >= (size + 1) // 2
    return number, half.astype(jnp.int32), size > 1

"""Which names were replaced by others (WKLM, Xiong et al. 2019, arXiv 1912.09637, section 3).

Some names of a row give way to other names of the same kind, of two neighbours at most one; of each, a head reads the
tokens before and after it and says whether it was replaced. Beside it masked language modelling of 5% of the tokens
outside names. Departs from the paper, which has names of Wikidata by their types: names are those of the annotation
`entities`, and a name is replaced by one of as many tokens in another place of the batch, so that a row keeps its
length. A name for which the batch has no other is neither replaced nor asked for: its size and kind tell nothing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from bert_jax.config import Model
from bert_jax.modeling import heads
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head
from bert_jax.modeling.layers import Dense, bind
from bert_jax.modeling.parts import Parts, of_module
from bert_jax.objectives import Batch, Metrics, Objective, Vocabulary, _own_head, mlm, normalized
from bert_jax.objectives._cross_entropy import cross_entropy
from bert_jax.objectives.masking._slots import fill_slots, least_of_largest
from bert_jax.objectives.masking._units import random_at
from configuration.variants import ConfigError, Variant, use

HEAD, LABELS = "entity_head", "entities"
SHARE_OF_SLOTS = 8  # a row of L tokens has slots for L / 8 names
LONGEST = 16  # tokens of a name; longer ones stay as they are


class EntityHead(Dense):
    """The tokens before and after a name, 2D, to one logit."""

    def __init__(self, model: Model, rngs: nnx.Rngs):
        super().__init__((2 * model.width, 1), (None, None), model, rngs)


class Names(NamedTuple):
    """Some names of B rows, K slots each, from left to right."""

    starts: jax.Array  # int32 [B, K], first tokens
    sizes: jax.Array  # int32 [B, K], tokens; 0 for an empty slot
    kinds: jax.Array  # int32 [B, K]
    tokens: jax.Array  # int32 [B, K, LONGEST], -1 after the last


def parts(model: Model) -> Parts:
    """The masked-language-model head, and that of names."""
    return {**heads.parts(model, "mlm_head"), HEAD: of_module(EntityHead, model)}


def exported(model: Model) -> dict[str, str]:
    """The names of the head's arrays."""
    return _own_head.exported(HEAD, model)


def build(
    model: Model,
    vocabulary: Vocabulary,
    *,
    mask_rate: float | Variant = 0.05,
    masking: Variant = use("tokens"),
    replacement: Variant = use("mask"),
    replaced: float = 0.3,
    entity_weight: float = 1.0,
) -> Objective:
    """The objective. Its rows need the annotation entities.

    Args:
      mask_rate, masking, replacement: as in mlm.py, of the tokens outside names.
      replaced: share of the names that are asked for, at most a half. The paper does not say it.
      entity_weight: of the names' mean loss beside the tokens'.

    Raises:
      ConfigError: a share that cannot be, where no two neighbours are replaced.
    """
    if not 0 < replaced <= 0.5:
        raise ConfigError(f"config.objective.replaced is {replaced}; it must be a share above 0, at most a half")
    draw, needs = mlm.drawing(vocabulary, mask_rate, masking, replacement)

    def corrupt(batch: Batch, key: jax.Array) -> Batch:
        """As mlm.py's; adds before, after and replaced (int32 [B, K]) and entity_weights (float [B, K], of sum 1)."""
        slot_key, other_key, choice_key, mask_key = jax.random.split(key, 4)
        tokens = jnp.asarray(batch["tokens"], jnp.int32)
        names = names_of(tokens, batch[LABELS], slot_key)
        others, found = exchange(names, random_at(other_key, names.starts))
        swapped = found & chosen(names, choice_key, replaced)
        outside = jnp.where(batch[LABELS] > 0, 0, batch["segments"])
        drawn = draw(batch | {"tokens": put(tokens, names, others, swapped), "segments": outside}, mask_key)
        return mlm.shared_out(drawn) | {
            "segments": batch["segments"],
            "before": jnp.maximum(names.starts - 1, 0),
            "after": jnp.minimum(names.starts + names.sizes, tokens.shape[1] - 1),
            "replaced": swapped.astype(jnp.int32),
            "entity_weights": normalized(found.astype(jnp.float32)),
        }

    def loss(params: dict, constants: Any, batch: Batch, key: jax.Array | None) -> tuple[jax.Array, Metrics]:
        """The sum of both losses; the accuracy is that of the tokens. `replaced` is the names' share."""
        del constants
        slots, names = batch["target_positions"].shape[1], batch["before"].shape[1]
        places = jnp.concatenate([batch["target_positions"], batch["before"], batch["after"]], axis=1)
        masked, before, after = jnp.split(encode(model, params, batch, key, places), (slots, slots + names), axis=1)
        logits = mlm_head.padded_logits(model, params, masked)
        token_loss, accuracy = cross_entropy(logits, batch["targets"], batch["target_weights"])
        around = jnp.concatenate([before, after], axis=-1)
        judged = bind(EntityHead, model, params[HEAD])(around)[..., 0].astype(jnp.float32)
        was, weights = batch["replaced"] > 0, batch["entity_weights"]
        entity_loss = (jax.nn.softplus(jnp.where(was, -judged, judged)) * weights).sum()
        metrics = {
            "accuracy": accuracy,
            "mlm_loss": token_loss,
            "entity_loss": entity_loss,
            "entity_accuracy": (((judged > 0) == was) * weights).sum(),
            "replaced": (was * weights).sum(),
        }
        return token_loss + entity_weight * entity_loss, metrics

    return Objective(corrupt, loss, tuple(dict.fromkeys((*needs, LABELS))))


def names_of(tokens: jax.Array, labels: jax.Array, key: jax.Array) -> Names:
    """The names of each row, or as many drawn among them as there are slots; one that begins before the row is none.

    Args:
      labels: int [B, L], as the annotation entities has them.
    """
    length = tokens.shape[1]
    labels, place = labels.astype(jnp.int32), jnp.arange(length)
    first, inner = labels % 2 == 1, (labels > 0) & (labels % 2 == 0)
    stops = jnp.where(inner, length, place)
    ends = jax.lax.cummin(jnp.roll(stops, -1, axis=1).at[:, -1].set(length), axis=1, reverse=True)
    usable = first & (ends - place <= LONGEST)
    slots = max(1, length // SHARE_OF_SLOTS)
    count = jnp.minimum(usable.sum(1), slots)
    draw = jnp.where(usable, random_at(key, jnp.broadcast_to(place, usable.shape)) | 1, 0)
    drawn = usable & (draw >= least_of_largest(draw, count)[:, None])
    starts, used = fill_slots(drawn, count, slots)
    at_starts = lambda values: jnp.take_along_axis(values, starts, axis=1)
    sizes = jnp.where(used > 0, at_starts(ends) - starts, 0).astype(jnp.int32)
    inside = jnp.arange(LONGEST)
    places = jnp.minimum(starts[..., None] + inside, length - 1)
    texts = jax.vmap(lambda row, places: row[places])(tokens, places)
    return Names(starts, sizes, (at_starts(labels) + 1) // 2, jnp.where(inside < sizes[..., None], texts, -1))


def exchange(names: Names, draw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each name the tokens of another of its kind and size, int32 [B, K, LONGEST], and whether there is one.

    All names of a kind and size stand around a circle in the order of `draw`, uint32 [B, K]; each gets the next one.
    """
    used = names.sizes.reshape(-1) > 0
    group = jnp.where(used, names.kinds.reshape(-1) * (LONGEST + 1) + names.sizes.reshape(-1), 0)
    order = jnp.lexsort((draw.reshape(-1), group))
    sorted_group, number = group[order], jnp.arange(len(order))
    opens = jnp.concatenate([jnp.ones(1, bool), sorted_group[1:] != sorted_group[:-1]])
    begins = jax.lax.cummax(jnp.where(opens, number, 0))
    following = jnp.where(jnp.roll(opens, -1), begins, number + 1)
    other = jnp.zeros_like(order).at[order].set(order[following])
    texts = names.tokens.reshape(-1, LONGEST)
    found = used & (texts[other] != texts).any(1)
    return texts[other].reshape(names.tokens.shape), found.reshape(names.sizes.shape)


def chosen(names: Names, key: jax.Array, share: float) -> jax.Array:
    """bool [B, K]: this share of the slots, no two next to each other."""
    parity_key, draw_key = jax.random.split(key)
    odd = random_at(parity_key, jnp.zeros((len(names.starts), 1), jnp.int32)) >> 31
    turn = jnp.arange(names.starts.shape[1]) % 2 == odd
    uniform = (random_at(draw_key, names.starts) >> 8).astype(jnp.float32) * 2.0**-24
    return turn & (uniform < 2 * share)


def put(tokens: jax.Array, names: Names, others: jax.Array, swapped: jax.Array) -> jax.Array:
    """tokens [B, L] with the others' tokens in the places of the names that are swapped."""
    inside = jnp.arange(LONGEST)
    new = swapped[..., None] & (inside < names.sizes[..., None])
    places = jnp.where(new, names.starts[..., None] + inside, tokens.shape[1])
    write = lambda row, places, others: row.at[places].set(others, mode="drop")
    return jax.vmap(write)(tokens, places, others)

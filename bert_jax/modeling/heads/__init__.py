"""What reads the encoder's output, one head a file: `build(model, *, …) -> Part`, which its name has in the parameters.

Heads are shared by objectives, tasks and checkpoint families; what one objective alone has, its own file brings.
"""

from bert_jax.config import Model
from bert_jax.modeling.parts import Parts
from configuration.variants import Variant, load, use


def parts(model: Model, *heads: str | Variant) -> Parts:
    """The heads of these names, or with these options, as parts."""
    wanted = [use(head) if isinstance(head, str) else head for head in heads]
    return {head.name: load("bert_jax.modeling.heads", head)(model) for head in wanted}

"""A kernel outside the package; tests/bert_jax/test_own_positions.py has it in the encoder."""

import attention_reference as reference
import kernel_checks as checks
from plugins import near


def test_it_does_what_the_definition_says() -> None:
    attend = lambda q, k, v, seeing: near.attend(q, k, v, seeing, scale=0.4)
    checks.only_what_is_visible_counts(attend, "window", reference.inputs(0), 0.4)

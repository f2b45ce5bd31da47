"""Typed configurations: their schema, the command line's changes to them, and what may differ between two runs."""

from bert_jax.config.fine_tuning import FineTuning
from bert_jax.config.labelled import Beside, Labelled, Transfer
from bert_jax.config.schema import (
    BatchWarmup,
    Checkpoints,
    Config,
    Data,
    Dtype,
    Evaluation,
    Guard,
    Mesh,
    Model,
    Phase,
)
from bert_jax.config.suite import Member, Suite
from bert_jax.config.vector_suite import VectorSet, VectorSuite
from configuration.variants import Variant, use

__all__ = [
    "BatchWarmup",
    "Beside",
    "Checkpoints",
    "Config",
    "Data",
    "Dtype",
    "Evaluation",
    "FineTuning",
    "Guard",
    "Labelled",
    "Member",
    "Mesh",
    "Model",
    "Phase",
    "Suite",
    "Transfer",
    "Variant",
    "VectorSet",
    "VectorSuite",
    "use",
]

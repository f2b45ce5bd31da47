"""The configuration of a suite: tasks to evaluate encoders on, and baselines."""

import dataclasses
from collections.abc import Mapping
from dataclasses import field

from configuration.variants import Variant, require, use


@dataclasses.dataclass(frozen=True)
class Member:
    """A task of a suite."""

    file: str  # of a FineTuning; a relative path starts at the suite's file
    overrides: Mapping[str, str] = field(default_factory=dict)  # dotted field → text, as on the command line


@dataclasses.dataclass(frozen=True)
class Suite:
    """Tasks on which encoders are fine-tuned, and the baselines to compare with."""

    name: str
    tasks: tuple[Member, ...]
    baselines: tuple[Variant, ...] = (  # files of bert_jax/baselines; each serves some tasks
        use("majority"),
        use("mean"),
        use("frequent_tag"),
        use("nearest_choice"),
        use("tfidf"),
        use("latent_semantic"),
    )
    untrained: bool = True  # also fine-tune each encoder with fresh weights

    def __post_init__(self) -> None:
        require(bool(self.tasks), "tasks", self.tasks, "one task or more")

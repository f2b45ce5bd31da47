"""The configuration of a suite: tasks that encoders are measured on, and the baselines beside them."""

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
    """Tasks on which encoders are fine-tuned, and what stands beside them."""

    name: str
    tasks: tuple[Member, ...]
    baselines: tuple[Variant, ...] = (  # files of bert_jax/baselines; each serves some tasks
        use("majority"),
        use("mean"),
        use("frequent_tag"),
        use("tfidf"),
    )
    untrained: bool = True  # each encoder stands beside itself with fresh weights

    def __post_init__(self) -> None:
        require(bool(self.tasks), "tasks", self.tasks, "one task or more")

"""What a configuration says of labelled text and of the encoder that learns from it."""

import dataclasses

from configuration.variants import Variant, require


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Labelled examples, which a run reads in place of the text of a store."""

    source: Variant  # a file of data_pipeline/labelled
    task: Variant  # a file of bert_jax/tasks, with the names of the labels
    dev_share: float = 0.1  # of the training texts, held out by a hash where the source has no dev split
    packed: bool = True  # several examples a row, isolated; False for one
    name: str = ""  # of the task if there are several: the name of its head in the parameters
    weight: float = 1.0  # of the task's loss among several
    rows: int = 1  # rows of this task in each row of a batch of several tasks
    beside: tuple["Labelled", ...] = ()  # those of other tasks that are learnt at once

    def __post_init__(self) -> None:
        require(0 <= self.dev_share < 1, "labelled.dev_share", self.dev_share, "at least 0 and below 1")
        require(0 <= self.weight < float("inf"), "labelled.weight", self.weight, "a finite number, 0 or more")
        require(self.rows >= 1, "labelled.rows", self.rows, "at least 1")


@dataclasses.dataclass(frozen=True)
class Beside:
    """Another task that an encoder learns at once with its main one."""

    name: str  # of the task: letters, digits and underscores
    task: Variant  # a file of bert_jax/tasks
    source: Variant  # a file of data_pipeline/labelled
    weight: float = 1.0  # of its loss in the sum
    dev_share: float = 0.1  # of the training texts, kept for evaluation by a hash where the source has no dev split

    def __post_init__(self) -> None:
        require(0 <= self.weight < float("inf"), "beside.weight", self.weight, "a finite number, 0 or more")
        require(0 <= self.dev_share < 1, "beside.dev_share", self.dev_share, "at least 0 and below 1")


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What is used of the encoder in `init_from`, and how fast each of its layers learns."""

    layer_decay: float = 1.0  # of the learning rate, from each layer to the one below (Howard and Ruder 2018)
    frozen_layers: int = 0  # number of lowest layers that, with the embeddings, are not trained
    fresh_layers: int = 0  # number of highest layers that are reinitialised (Zhang et al. 2021, arXiv 2006.05987)

    def __post_init__(self) -> None:
        require(0 < self.layer_decay <= 1, "transfer.layer_decay", self.layer_decay, "above 0, and at most 1")
        require(self.frozen_layers >= 0, "transfer.frozen_layers", self.frozen_layers, "0 (none) or more")
        require(self.fresh_layers >= 0, "transfer.fresh_layers", self.fresh_layers, "0 (none) or more")

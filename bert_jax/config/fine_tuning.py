"""The configuration of fine-tuning: a task, its labelled text and a recipe, for any encoder."""

import dataclasses
import re
from dataclasses import field

from bert_jax.config.labelled import Beside, Transfer
from bert_jax.config.schema import Dtype, Mesh
from configuration.variants import Variant, require, use

LONGEST_ROW = 2**20  # tokens; a longer one is a mistake, found before rows are filled
NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)  # of one of several tasks: of a folder, and of a part of the parameters


@dataclasses.dataclass(frozen=True)
class FineTuning:
    """A task and how an encoder learns it.

    The defaults are what Mosbach et al. 2021 (arXiv 2006.04884) and Zhang et al. 2021 (arXiv 2006.05987) found stable
    on small sets: AdamW with bias correction, warm-up over a tenth of the updates, then a line to zero, several epochs.
    """

    name: str  # of the task, in tables and reports
    task: Variant  # a file of bert_jax/tasks
    source: Variant  # a file of data_pipeline/labelled
    init_from: str = ""  # any folder that bert_jax.load opens: the encoder
    untrained: bool = False  # take only init_from's shape and tokenizer: the baseline without pretraining
    dev_share: float = 0.1  # of the training texts, held out by a hash where the source has no dev split
    beside: tuple[Beside, ...] = ()  # other tasks that the encoder learns at once, each with a head of its own
    weight: float = 1.0  # of the loss of this task in the sum of all
    mixing: float = 1.0  # rows of each task in a batch are proportional to its set's size to this power; 0: equal
    length: int = 128  # L, tokens in a row; longer texts are truncated or read in windows, as the task says
    batch_size: int = 32  # examples in a batch, on average: several share a row
    microbatches: int = 1  # parts that a batch is split into, one after the other, to save memory
    epochs: float = 4  # passes over the training examples, those of all tasks together
    learning_rate: float = 3e-5  # the peak
    schedule: Variant = use("linear", warmup=0.1)  # a file of bert_jax/training/schedules
    optimizer: Variant = use("adamw", weight_decay=0.01)  # a file of bert_jax/training/optimizers
    clip_norm: float = 1.0  # of the whole gradient before the optimizer; 0 for none
    transfer: Transfer = field(default_factory=Transfer)
    dropout: float = 0.1  # of the encoder and before the head
    attention_dropout: float = 0.1  # of the attention probabilities
    packed: bool = True  # several examples a row, isolated; False for one
    evaluations: int = 4  # evaluations on the dev examples during training, evenly spread; the best weights are kept
    patience: int = 0  # training ends after this many evaluations without a new best; 0 for never
    best_metric: str = ""  # metric that selects the best weights; empty for the task's own
    dtype: Dtype = "float32"  # of the matrix products; "auto": the fastest here
    seed: int = 0  # of the head, the order of the examples and dropout
    mesh: Mesh = field(default_factory=Mesh)

    def __post_init__(self) -> None:
        require(8 <= self.length <= LONGEST_ROW, "length", self.length, f"8 to {LONGEST_ROW:,} tokens")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1 example")
        require(self.microbatches >= 1, "microbatches", self.microbatches, "at least 1")
        require(0 < self.epochs < 10_000, "epochs", self.epochs, "above 0")
        require(0 < self.learning_rate < float("inf"), "learning_rate", self.learning_rate, "a number above 0")
        require(self.evaluations >= 0, "evaluations", self.evaluations, "0 (the last weights are taken) or more")
        require(self.patience >= 0, "patience", self.patience, "0 (never) or more")
        require(0 <= self.weight < float("inf"), "weight", self.weight, "a finite number, 0 or more")
        require(0 <= self.mixing <= 1, "mixing", self.mixing, "between 0 and 1")
        if self.beside:
            called = [self.name, *(each.name for each in self.beside)]
            for name in called:
                require(bool(NAME.fullmatch(name)), "beside.name", name, "letters, digits and underscores")
                require(called.count(name) == 1, "beside.name", name, "another name than the other tasks have")
            weights = [self.weight, *(each.weight for each in self.beside)]
            require(any(weights), "beside.weight", weights, "above 0 for one task at least")

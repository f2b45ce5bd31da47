"""The typed, frozen, validated configuration. Every field has a unit or a source.

A config file assigns a `Config` to the name `config`; flags override any field
(`--config.model.layers=2`). Fields of type `Variant` name a file in a variation point's folder.
"""

import dataclasses
import itertools
import math
from dataclasses import field
from typing import Literal

from bert_jax.config.labelled import Labelled, Transfer
from configuration.variants import Variant, require, use
from data_pipeline.config import Data

LARGEST = 2**24  # dimension; a larger one is a mistake, found before anything is allocated
LARGEST_STEPS = 2**31 - 1  # the step is an int32
LARGEST_SEED = 2**32 - 2  # JAX's keys would take the seeds above for smaller ones, and a run uses seed + 1 too
Dtype = Literal["float32", "bfloat16", "auto"]


@dataclasses.dataclass(frozen=True)
class Model:
    """The encoder. The defaults are BERT-base's (Devlin et al. 2018, section 3)."""

    vocab_size: int = 30522  # V, the tokenizer's own size; the table is padded to a multiple of 128
    layers: int = 12  # n, layers of the encoder
    width: int = 768  # D, size of a token's hidden state
    heads: int = 12  # N, attention heads; the head size H is width / heads
    mlp_width: int = 3072  # F, hidden size of the feed-forward
    max_length: int = 512  # longest row in tokens; size of an absolute position table
    token_types: int = 2  # T; 0 for none
    task_types: int = 0  # tasks with an embedding each (ERNIE 2.0, arXiv 1907.12412); 0 for none
    embedding_width: int = 0  # E of the tables, with a dense layer from E to D (ALBERT); 0 for D and no such layer
    sharing: Literal["none", "all", "attention", "mlp"] = "none"  # the part of a layer whose weights layers share
    groups: int = 1  # with sharing, number of groups of neighbouring layers that share weights (ALBERT)
    window: int = 0  # tokens to each side that a local layer attends to (ModernBERT: 64); 0: every layer is global
    global_every: int = 1  # with window, layers 0, k, 2k, … are global and the rest local (ModernBERT: 3); 0: all local
    positions: Variant = use("absolute")  # a file of bert_jax/modeling/positions
    kernel: Variant = use("auto")  # a file of bert_jax/modeling/kernels, or auto: the fastest that supports the model
    norm: Literal["post", "pre"] = "post"  # LayerNorm after the residual sum (BERT), or before each part (ModernBERT)
    norm_epsilon: float = 1e-12  # as in Google's code
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu"  # GELU by erf (PyTorch) or tanh (Google's code)
    gated: bool = False  # gated linear units in the feed-forward: GeGLU, or SwiGLU with silu
    biases: bool = True  # in dense layers and LayerNorms; that of the vocabulary's logits always stays
    dropout: float = 0.1  # after the embeddings, attention's output and the feed-forward
    attention_dropout: float = 0.1  # on the attention probabilities
    init: Variant = use("normal")  # a file of bert_jax/modeling/inits: initial weights
    init_std: float = 0.02  # standard deviation of the truncated normal
    isolate_documents: bool = True  # tokens of different documents in a row never attend to each other
    dtype: Dtype = "float32"  # of matrix products ("auto": the fastest here); weights, sums and the loss are float32
    remat: Literal["none", "dots", "full"] = "none"  # what the backward pass recomputes
    unroll: int = 0  # layers unrolled per step of the scan over layers; 0: by platform (`side_by_side`)

    def __post_init__(self) -> None:
        for name in ("vocab_size", "layers", "width", "heads", "mlp_width"):
            value = getattr(self, name)
            require(1 <= value <= LARGEST, f"model.{name}", value, f"between 1 and {LARGEST:,}")
        for name in ("norm_epsilon", "init_std"):
            value = getattr(self, name)
            require(0 <= value <= 100, f"model.{name}", value, "between 0 and 100")
        require(0 <= self.unroll <= LARGEST, "model.unroll", self.unroll, f"between 0 (by platform) and {LARGEST:,}")
        for name in ("token_types", "task_types", "embedding_width"):
            value = getattr(self, name)
            require(0 <= value <= LARGEST, f"model.{name}", value, f"0 (none) to {LARGEST:,}")
        require(8 <= self.max_length <= LARGEST, "model.max_length", self.max_length, f"8 to {LARGEST:,} tokens")
        require(self.width % self.heads == 0, "model.heads", self.heads, f"a divisor of model.width={self.width}")
        if self.sharing == "none":
            require(self.groups == 1, "model.groups", self.groups, "1 without model.sharing")
        else:
            divides = self.groups >= 1 and self.layers % self.groups == 0
            require(divides, "model.groups", self.groups, f"a divisor of model.layers={self.layers}")
        require(0 <= self.window <= LARGEST, "model.window", self.window, f"between 0 (none) and {LARGEST:,} tokens")
        if self.window:
            some = self.global_every == 0 or 2 <= self.global_every <= LARGEST
            require(some, "model.global_every", self.global_every, "0 or at least 2 with model.window")
        else:
            require(self.global_every == 1, "model.global_every", self.global_every, "1 without model.window")
        for name in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, name) < 1, f"model.{name}", getattr(self, name), "at least 0 and below 1")

    @property
    def head_size(self) -> int:
        """H."""
        return self.width // self.heads

    @property
    def pattern(self) -> tuple[bool, ...]:
        """The repeating pattern: whether each layer is local; layer n is like entry n modulo its length."""
        if not self.window:
            return (False,)
        return (False, *(True,) * (self.global_every - 1)) if self.global_every else (True,)

    def is_local(self, layer: int) -> bool:
        """Whether a layer attends within `window`."""
        return self.pattern[layer % len(self.pattern)]

    @property
    def table_width(self) -> int:
        """Columns of the embedding tables: E, or D without factorisation."""
        return self.embedding_width or self.width

    @property
    def padded_vocab_size(self) -> int:
        """V rounded up to a multiple of 128, the lane width of a TPU."""
        return -(-self.vocab_size // 128) * 128


@dataclasses.dataclass(frozen=True)
class BatchWarmup:
    """Batch-size warm-up (Brown et al. 2020, appendix B): each size is used for the same number of tokens."""

    tokens: int = 0  # before the batch reaches its size, padding counted; 0 for the full size from the start
    first: int = 0  # rows of the first batches
    increment: int = 0  # rows added from each size to the next; each is compiled once


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training at one length of rows, batch size, learning-rate schedule and objective."""

    steps: int  # optimizer updates
    length: int  # L, tokens in a row
    batch_size: int  # B, rows in the global batch
    learning_rate: float  # the peak
    schedule: Variant = use("linear", warmup=0.1)  # a file of bert_jax/training/schedules, over this phase's steps
    microbatches: int = 1  # gradients of this many parts of the batch are summed before an update
    batch_warmup: BatchWarmup = field(default_factory=BatchWarmup)  # microbatches keep their size
    objective: Variant = use("")  # without a name: config.objective with these options
    positions: Variant = use("")  # config.model.positions with these options: rotary's base grows with the rows

    def __post_init__(self) -> None:
        require(self.steps >= 1, "phases.steps", self.steps, "at least 1")
        require(self.length >= 8, "phases.length", self.length, "at least 8 tokens")
        require(1 <= self.batch_size <= LARGEST, "phases.batch_size", self.batch_size, f"1 to {LARGEST:,} rows")
        require(0 < self.learning_rate < math.inf, "phases.learning_rate", self.learning_rate, "a number above 0")
        require(
            self.microbatches >= 1 and self.batch_size % self.microbatches == 0,
            "phases.microbatches",
            self.microbatches,
            f"a divisor of batch_size={self.batch_size}",
        )
        warmup, part = self.batch_warmup, self.batch_size // self.microbatches if self.microbatches > 1 else 1
        require(0 <= warmup.tokens < 2**63, "phases.batch_warmup.tokens", warmup.tokens, "0 (none) to 2**63 - 1")
        if warmup.tokens:
            require(
                1 <= warmup.first < self.batch_size and warmup.first % part == 0,
                "phases.batch_warmup.first",
                warmup.first,
                f"a multiple of batch_size / microbatches={part}, at least 1 row and below batch_size={self.batch_size}"
                if part > 1
                else f"at least 1 row and below batch_size={self.batch_size}",
            )
            missing = self.batch_size - warmup.first
            require(
                warmup.increment >= 1 and missing % warmup.increment == 0 and warmup.increment % part == 0,
                "phases.batch_warmup.increment",
                warmup.increment,
                f"a divisor of batch_size - first = {missing}"
                + (f" and a multiple of batch_size / microbatches={part}" if part > 1 else ""),
            )


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; -1 takes the rest, on one axis only."""

    replica: int = 1  # slices of a multi-slice machine, each with copies of the model
    data: int = -1  # data-parallel copies of the model
    fsdp: int = 1  # parameters and moments are split over it, and so is the batch
    tensor: int = 1  # heads, feed-forward and vocabulary are split over it

    def __post_init__(self) -> None:
        sizes = dataclasses.asdict(self)
        for name, size in sizes.items():
            require(size == -1 or size >= 1, f"mesh.{name}", size, "at least 1, or -1 for the rest of the devices")
        require(list(sizes.values()).count(-1) <= 1, "mesh", sizes, "with -1 on one axis at most")


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are written and which are kept."""

    every_steps: int = 1000  # steps between two checkpoints
    keep: int = 3  # number of newest checkpoints to keep
    keep_every: int = 0  # and those at multiples of this many steps; 0 for none
    keep_best: int = 0  # and this many of the lowest mean loss since the last one; with eval_every, of best_metric
    folder: str = ""  # folder, such as gs://bucket/run; empty for `checkpoints` in the work folder

    def __post_init__(self) -> None:
        require(self.every_steps >= 1, "checkpoints.every_steps", self.every_steps, "at least 1")
        require(self.keep >= 1, "checkpoints.keep", self.keep, "at least 1")
        require(self.keep_every >= 0, "checkpoints.keep_every", self.keep_every, "0 (none) or more")
        require(self.keep_best >= 0, "checkpoints.keep_best", self.keep_best, "0 (none) or more")


@dataclasses.dataclass(frozen=True)
class Guard:
    """Against loss spikes: an update whose gradient norm is not finite, or an outlier, is not made."""

    on: bool = False  # whether there is a guard
    factor: float = 10.0  # a norm above this many times its moving average is an outlier; infinity for none
    decay: float = 0.99  # of that average
    grace: int = 100  # finite norms before any is an outlier
    roll_back_after: int = 5  # skipped updates in a row after which the run goes back, without that text; 0 for never
    most_roll_backs: int = 3  # in a run; then it ends

    def __post_init__(self) -> None:
        require(self.factor > 1, "guard.factor", self.factor, "above 1 (infinity skips what is not finite alone)")
        require(0 < self.decay < 1, "guard.decay", self.decay, "between 0 and 1")
        require(1 <= self.grace < LARGEST_STEPS, "guard.grace", self.grace, "at least 1 step")
        require(self.roll_back_after >= 0, "guard.roll_back_after", self.roll_back_after, "0 (never) or more")
        require(self.most_roll_backs >= 1, "guard.most_roll_backs", self.most_roll_backs, "at least 1")

    @property
    def rolls_back(self) -> bool:
        """Whether a run may go back."""
        return self.on and self.roll_back_after > 0


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The held-out evaluation. Its masks depend on `seed` alone."""

    length: int = 0  # L, tokens in a row; 0 for that of the last phase
    batch_size: int = 64  # rows evaluated at a time
    max_rows: int = 4096  # at most, evenly spread over the held-out documents
    mask_rate: float = 0.15  # as in BERT, independent of the rate in training
    single_mask_rows: int = 16  # rows whose tokens are masked one at a time, for the pseudo-perplexity
    seed: int = 0  # of the masks

    def __post_init__(self) -> None:
        require(self.length == 0 or self.length >= 8, "evaluation.length", self.length, "at least 8 tokens, or 0")
        for name in ("batch_size", "max_rows", "single_mask_rows"):
            rows = getattr(self, name)
            require(1 <= rows <= LARGEST, f"evaluation.{name}", rows, f"1 to {LARGEST:,} rows")
        require(0 <= self.seed <= LARGEST_SEED, "evaluation.seed", self.seed, f"0 to {LARGEST_SEED}")
        require(0 < self.mask_rate < 1, "evaluation.mask_rate", self.mask_rate, "between 0 and 1")


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run: text, model, objective, optimizer, phases, mesh."""

    name: str  # of the recipe, in reports and exports
    phases: tuple[Phase, ...]  # of training, one after the other
    data: Data = field(default_factory=Data)
    labelled: Labelled | None = None  # labelled examples instead of text; written by `bert_jax.finetune`
    transfer: Transfer = field(default_factory=Transfer)
    model: Model = field(default_factory=Model)
    objective: Variant = use("mlm")  # a file of bert_jax/objectives, for the phases that name none
    optimizer: Variant = use("lamb")  # a file of bert_jax/training/optimizers
    clip_norm: float = 1.0  # of the whole gradient before the optimizer; 0 for none
    guard: Guard = field(default_factory=Guard)
    transforms: tuple[Variant, ...] = ()  # files of bert_jax/transforms, applied in this order to evaluate and export
    unigram_bias: bool = False  # MLM heads, a generator's too, start with the log unigram probabilities as bias
    cooccurrence: float = 0.0  # size, in init_std, of word embeddings that start by co-occurrence; 0 for random ones
    seed: int = 0  # of fresh weights, the order of the rows, masks and dropout
    resume_from: str = ""  # work folder of another run: start from the state and step of its newest checkpoint
    init_from: str = ""  # any folder that bert_jax.load opens: start from its weights, with its tokenizer
    mesh: Mesh = field(default_factory=Mesh)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    evaluation: Evaluation = field(default_factory=Evaluation)
    evaluators: tuple[Variant, ...] = (use("masked_language"), use("pseudo_perplexity"))  # files of bert_jax/evaluators
    eval_every: int = 0  # steps between evaluations during training, by the cheap evaluators; 0 for none
    eval_rows: int = 512  # at most, of the held-out documents, for each of them
    best_metric: str = ""  # metric that selects the best checkpoint; empty for the first evaluator's own
    best_mode: Literal["min", "max"] = "min"  # whether the best has the lowest or the highest one
    patience: int = 0  # training ends after this many evaluations without a new best; 0 for never
    loggers: tuple[Variant, ...] = (use("jsonl"), use("tensorboard"))  # files of bert_jax/reporting/loggers
    log_every: int = 10  # steps between two lines of metrics.jsonl
    statistics_every: int = 0  # steps between lines of layers.jsonl, LAMB's trust ratio and norms per layer; 0 for none
    hooks: tuple[Variant, ...] = ()  # files of bert_jax/training/hooks, called between updates
    examples: tuple[str, ...] = ()  # sentences with [MASK], filled in for the report

    def __post_init__(self) -> None:
        require(len(self.phases) >= 1, "phases", self.phases, "at least one phase")
        require(0 <= self.seed <= LARGEST_SEED, "seed", self.seed, f"between 0 and {LARGEST_SEED}")
        require(self.steps <= LARGEST_STEPS, "phases", self.steps, f"at most {LARGEST_STEPS:,} steps together")
        require(self.clip_norm >= 0, "clip_norm", self.clip_norm, "0 (no clipping) or more")
        require(0 <= self.cooccurrence <= 100, "cooccurrence", self.cooccurrence, "0 (random embeddings) to 100")
        wanted = "0 where labelled examples stand for text"
        require(not (self.cooccurrence and self.labelled), "cooccurrence", self.cooccurrence, wanted)
        require(self.log_every >= 1, "log_every", self.log_every, "at least 1")
        require(self.statistics_every >= 0, "statistics_every", self.statistics_every, "0 (none) or more")
        require(self.eval_every >= 0, "eval_every", self.eval_every, "0 (never) or more")
        require(self.eval_rows >= 1, "eval_rows", self.eval_rows, "at least 1 row")
        require(self.patience >= 0, "patience", self.patience, "0 (never) or more")
        require(not self.patience or self.eval_every > 0, "patience", self.patience, "0, or eval_every be above 0")
        for i, phase in enumerate(self.phases):
            scheme, own = self.model.positions.name, phase.positions.name
            wanted = f"options of config.model.positions={scheme}, in every phase (phases.{i}.positions.OPTION)"
            require(own in ("", scheme), f"phases.{i}.positions", own, wanted)
            require(
                phase.length <= self.model.max_length,
                f"phases.{i}.length",
                phase.length,
                f"at most model.max_length={self.model.max_length}",
            )
        require(
            self.evaluation.length <= self.model.max_length,
            "evaluation.length",
            self.evaluation.length,
            f"at most model.max_length={self.model.max_length}",
        )

    @property
    def objectives(self) -> tuple[Variant, ...]:
        """The objective of each phase."""
        common = self.objective
        over = lambda own: Variant(common.name, {**common.options, **own.options})
        return tuple(phase.objective if phase.objective.name else over(phase.objective) for phase in self.phases)

    @property
    def models(self) -> tuple[Model, ...]:
        """The encoder of each phase: the same arrays, read with the positions of the phase."""
        common = self.model.positions
        over = lambda own: Variant(common.name, {**common.options, **own.options})
        return tuple(dataclasses.replace(self.model, positions=over(phase.positions)) for phase in self.phases)

    def as_of(self, step: int) -> "Config":
        """The run as its weights after `step` updates are read: the model is that of the phase that made the last."""
        ends = itertools.accumulate(phase.steps for phase in self.phases[:-1])
        model = self.models[sum(end < step for end in ends)]
        phases = tuple(dataclasses.replace(phase, positions=use("")) for phase in self.phases)
        return dataclasses.replace(self, model=model, phases=phases)

    @property
    def evaluation_length(self) -> int:
        """L of the held-out rows."""
        return self.evaluation.length or self.phases[-1].length

    @property
    def steps(self) -> int:
        """Optimizer updates of all phases together."""
        return sum(phase.steps for phase in self.phases)

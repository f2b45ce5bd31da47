"""The ideas of which_idea_pays.py, as trainings of one small encoder at equal compute; not a command."""

import dataclasses
from typing import NamedTuple

from configs.demo import config as demo
from configs.ernie2_demo import config as ernie2

from bert_jax.analysis import flops
from bert_jax.config import Checkpoints, Config, Data, use
from bert_jax.training import setup
from configuration.variants import ConfigError, Variant
from data_pipeline import annotations
from data_pipeline.store import Store

BASELINE = "tokens"  # the idea that the others are held to
SIZES = {
    "demo": demo.model,
    "small": dataclasses.replace(demo.model, width=64, mlp_width=172),
}
WARMUP = 0.1  # of the run, or as much as its first stage has; then a line to zero


class Idea(NamedTuple):
    """What is trained, and what its authors found."""

    stages: tuple[Variant, ...]  # objectives, one after the other
    claim: str
    parts: tuple[int, ...] = ()  # into which the steps are divided, for each stage; () for as many each
    rows: Variant = use("full_sentences")
    task_types: int = 0  # tasks with an embedding each


class Lists(NamedTuple):
    """What some ideas read beside the text."""

    similar: str  # the table of similar words
    names: str  # the annotation where names start


def ideas(lists: Lists) -> dict[str, Idea]:
    """All ideas by name. Everything that the papers do beside the idea, such as sentence order, is left out."""
    masked = lambda masking: use("mlm", masking=masking)
    units = lambda annotation: masked(use("units", annotation=annotation))
    similar = use("similar", file=lists.similar)
    macbert = use("mlm", masking=use("ngrams", shares=(40, 30, 20, 10)), replacement=similar)
    return {
        BASELINE: Idea((use("mlm"),), "BERT (Devlin et al. 2018): what the others are held to"),
        "words": Idea(
            (masked(use("whole_words")),),
            "BERT-large SQuAD F1 91.0 → 92.8 (Google); base LCQMC test 86.4 → 86.8, means of ten (Cui et al. 2019)",
        ),
        "ngrams": Idea(
            (masked(use("ngrams")),),
            "ALBERT (Lan et al. 2019): base 82.3 on average of five tasks, with sentence order; not measured by itself",
        ),
        "spans": Idea(
            (use("mlm", masking=use("spans"), replacement=use("per_unit")),),
            "SpanBERT (Joshi et al. 2019): better than tokens, words and names on most of its tasks",
        ),
        "spans_sbo": Idea(
            (use("span_boundary"),),
            "SpanBERT: base SQuAD F1 88.5 → 92.4 and 76.5 → 83.6, spans, boundaries and single texts together",
        ),
        "macbert": Idea(
            (macbert,),
            "MacBERT (Cui et al. 2020): base CMRC dev 64.4 / 84.0 → 67.3 / 87.1, with sentence order",
        ),
        "ernie": Idea(
            (use("mlm"), units("phrases"), units(lists.names)),
            "ERNIE 1.0 (Sun et al. 2019): base Chinese XNLI 77.2 → 78.4, with dialogues and other text",
        ),
        "ernie2": Idea(
            tuple(phase.objective for phase in ernie2.phases),
            "ERNIE 2.0 (Sun et al. 2019): base GLUE test 78.3 → 80.6, with other text",
            parts=tuple(phase.steps for phase in ernie2.phases),
            rows=ernie2.data.rows,
            task_types=ernie2.model.task_types,
        ),
        "electra": Idea(
            (use("electra"),),
            "ELECTRA (Clark et al. 2020): GLUE dev small 75.1 → 79.9, base 82.2 → 85.1",
        ),
    }


def training(name: str, idea: Idea, store: Store, size: str, learning_rate: float, steps: int = 1) -> Config:
    """A training of `steps` updates, at least one a stage. The rates of all stages make one line."""
    parts = idea.parts or (1,) * len(idea.stages)
    ends = [sum(parts[:stage]) / sum(parts) for stage in range(len(parts) + 1)]  # of the run
    lengths = [max(1, round(steps * (ends[stage + 1] - ends[stage]))) for stage in range(len(parts))]
    rise = min(WARMUP, ends[1])
    left = [min(1.0, (1 - end) / (1 - rise)) for end in ends]  # of the peak; the first is the rise's end
    warmups = [rise / ends[1] if rise < ends[1] else lengths[0], *[0] * (len(parts) - 1)]
    phases = tuple(
        dataclasses.replace(
            demo.phases[0],
            steps=lengths[stage],
            learning_rate=learning_rate * left[stage],
            schedule=use("linear", warmup=warmups[stage], end=left[stage + 1] / left[stage]),
            objective=objective,
        )
        for stage, objective in enumerate(idea.stages)
    )
    return Config(
        name=name,
        phases=phases,
        data=Data(store=str(store.path), rows=idea.rows),
        model=dataclasses.replace(SIZES[size], vocab_size=store.vocab_size, task_types=idea.task_types),
        optimizer=demo.optimizer,
        unigram_bias=True,
        cooccurrence=demo.cooccurrence,
        checkpoints=Checkpoints(every_steps=1000, keep=1),
        evaluation=dataclasses.replace(demo.evaluation, single_mask_rows=1),
        log_every=max(1, steps // 100),
    )


def step_flops(config: Config) -> float:
    """FLOPs of an update, the mean over the run: of the generator and the heads too."""
    model = dataclasses.replace(config.model, dtype="float32")  # any gives the same
    counted = dataclasses.replace(config, model=model)
    needed = sum(phase.steps * flops.step_flops(counted, stage) for stage, phase in enumerate(config.phases))
    return needed / sum(phase.steps for phase in config.phases)


def check(name: str, config: Config, store: Store) -> None:
    """Raises ConfigError if the store lacks an annotation that an idea reads."""
    for objective in setup.make_objectives(config, store):
        for field in sorted(set(objective.needs) - set(store.annotations) - set(flops.OF_ROWS)):
            remedy = f"{annotations.remedy(field)}, or leave {name} out of --ideas"
            raise ConfigError(f"{name} needs the annotation {field}, which the store {store.path} lacks: {remedy}")

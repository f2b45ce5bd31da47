"""What does a step of each objective cost, beside masked language modelling of single tokens by the same encoder?

    python benchmarks/objective_steps.py --json=objective_steps.json
    python benchmarks/objective_steps.py --layers=12 --objectives=spans,ELECTRA --dtype=float32
    python -m data_pipeline.similar_words --store=runs/demo/store --output=similar.npz    # then --similar=similar.npz

Rows of random tokens, in which three of ten start a word, a name or a sentence. A step draws its masks, and does the
forward and backward pass and AdamW. Each takes turns with that of tokens, both in processes of their own; a ratio is
the median over the rounds of two turns of the same round. Beside it stands the ratio of what the matrix products of
both need.
"""

import dataclasses
import functools
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts, training
from bert_jax.analysis.flops import OF_ROWS, step_flops
from bert_jax.config import Config, use
from configuration import cli
from configuration.variants import ConfigError, Variant

FLAGS = flags.FLAGS
TOKENS = "tokens"  # what the others are held to
MACBERT = "similar words and order (MacBERT)"  # which needs a table
OBJECTIVES = {
    "whole words": use("mlm", masking=use("whole_words")),
    "n-grams": use("mlm", masking=use("ngrams")),
    "n-grams and order (ALBERT)": use("mlm_pair", masking=use("ngrams")),
    MACBERT: use("mlm_pair", masking=use("ngrams", shares=(40, 30, 20, 10))),
    "spans": use("mlm", masking=use("spans"), replacement=use("per_unit")),
    "spans and boundaries (SpanBERT)": use("span_boundary"),
    "names (ERNIE)": use("mlm", masking=use("units", annotation="capitals")),
    "capitals (ERNIE 2.0)": use("capital_prediction"),
    "token and document (ERNIE 2.0)": use("token_document"),
    "reordering (ERNIE 2.0)": use("sentence_reordering"),
    "distance (ERNIE 2.0)": use("sentence_distance"),
    "replaced names (WKLM)": use("entity_replacement"),
    "ELECTRA": use("electra"),
    "MLM of replaced tokens": use("replace_mlm"),
    "MLM of all tokens": use("all_token_mlm"),
}


def define() -> None:
    charts.define()
    flags.DEFINE_list("objectives", [], f"Which beside {TOKENS}, of {', '.join(OBJECTIVES)}; all by default.")
    flags.DEFINE_string("similar", "", "Table of similar words; without one, that of MacBERT is left out.")
    flags.DEFINE_integer("layers", 4, "Layers of the encoder.", lower_bound=1)
    flags.DEFINE_integer("width", 256, "Its width.", lower_bound=64)
    flags.DEFINE_integer("rows", 16, "Rows in a batch, of 128 tokens.", lower_bound=1)
    flags.DEFINE_string("dtype", "bfloat16", "What it computes in.")
    flags.DEFINE_integer("rounds", 3, "How often each takes its turn.", lower_bound=1)
    flags.DEFINE_float("seconds", 1.0, "How long a turn lasts at least.")
    known = lambda given: set(given) <= OBJECTIVES.keys()
    flags.register_validator("objectives", known, f"each must be one of {', '.join(OBJECTIVES)}")


def main() -> dict[str, Any]:
    work = training.Work(FLAGS.layers, FLAGS.width, FLAGS.rows, 128)
    tokens = config_of(work, use("mlm"), FLAGS.dtype)
    figures = {}
    for name, objective in chosen().items():
        config = config_of(work, objective, FLAGS.dtype)
        makers = {TOKENS: functools.partial(ours, work, tokens), name: functools.partial(ours, work, config)}
        turns, failed = training.take_turns(makers, FLAGS.rounds, FLAGS.seconds)
        if failed:
            print(f"{name:<36}{failed}")
            continue
        figures[name] = f = {
            "milliseconds": 1e3 * statistics.median(turns[name]),
            "tokens_milliseconds": 1e3 * statistics.median(turns[TOKENS]),
            "times_tokens": training.ratios(turns, name, TOKENS),
            "flops_times_tokens": step_flops(config, 0) / step_flops(tokens, 0),
        }
        said = f"{f['milliseconds']:8.0f} ms, tokens {f['tokens_milliseconds']:6.0f}{f['times_tokens']:8.2f}×"
        print(f"{name:<36}{said}{f['flops_times_tokens']:8.2f}× FLOPs", flush=True)
    charts.bars({"beside tokens": {name: of["times_tokens"] for name, of in figures.items()}}, "times a step of tokens")
    return {"steps": figures, "work": work.name, "dtype": FLAGS.dtype}


def chosen() -> dict[str, Variant]:
    """The objectives to be measured, beside that of tokens."""
    if MACBERT in FLAGS.objectives and not FLAGS.similar:
        raise ConfigError(f"--objectives names {MACBERT}, which needs a table: give --similar=FILE")
    found = {name: OBJECTIVES[name] for name in FLAGS.objectives or OBJECTIVES}
    if (macbert := found.pop(MACBERT, None)) and FLAGS.similar:
        found[MACBERT] = use(macbert.name, **macbert.options, replacement=use("similar", file=FLAGS.similar))
    return found


def config_of(work: training.Work, objective: Variant, dtype: str) -> Config:
    """The configuration of a step."""
    return dataclasses.replace(training.make_config(work, {"model.dtype": dtype}), objective=objective)


def ours(work: training.Work, config: Config) -> training.Step:
    """The step on rows with the fields that the objective needs."""
    batch, drawn = training.make_batch(work), np.random.default_rng(1)
    for name in training.make_objective(config).needs:
        per_row = drawn.integers(0, 2, work.rows).astype(np.int32)
        batch[name] = per_row if name in OF_ROWS else drawn.random(batch["tokens"].shape) < 0.3
    return training.step_of(config, batch)


if __name__ == "__main__":
    cli.run(main, define)

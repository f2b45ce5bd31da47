"""The recipes against the figures of their sources: model size, learning rates along the run, what they open with."""

import importlib
import math

import jax
import numpy as np
import optax
import pytest

from bert_jax.modeling import bert
from bert_jax.objectives import parts_of
from configuration.variants import load

# Parameters in millions, and learning rates at some updates: computed by hand from the source's formula.
RECIPES = {
    # 7038 · 0.2843 = 2000.9 steps of warm-up, counted from 1; then 6e-3 sqrt(1 - t / 7038); phase 2 again from 0.
    "bert_large_nvidia": (
        336,
        {
            0: 6e-3 / 2000.9034,
            1999: 6e-3 * 2000 / 2000.9034,
            3518: 6e-3 * math.sqrt(0.5),
            7037: 0,
            7038: 4e-3 / 200.064,
        },
    ),
    "bert_large_lamb_64k": (336, {0: 0, 2815: 7.07e-3 * 2815 / 2815.2, 7038: 0, 7038 + 312: 5e-3 * 312 / 312.2}),
    "roberta_base": (125, {12_000: 3e-4, 24_000: 6e-4, 262_000: 3e-4}),
    "nezha_large": (326, {900: 5e-5, 1800: 1e-4, 125_900: 5e-5}),
    "albert_base": (11.8, {1250: 7.04e-4, 3125: 1.76e-3, 64_062: 1.76e-3 * 60_938 / 121_875}),
    # 13.5 million of the discriminator, 0.6 of the generator.
    "electra_small": (14.2, {5000: 2.5e-4, 10_000: 4.95e-4, 500_000: 2.5e-4}),
    "spanbert_base": (110, {5000: 5e-5, 10_000: 1e-4, 1_205_000: 5e-5}),
    "macbert_base": (103, {10_000: 5e-5, 20_000: 1e-4, 1_010_000: 5e-5}),
    "ernie_base": (108, {5000: 4.5e-5, 10_000: 9e-5, 333_000: 6e-5, 666_000: 3e-5, 832_500: 1.5e-5}),
    # Stages of 2, 4, 6, 8 and 10 of 30 parts; in each the rate climbs to what is left of the line, and goes on with it.
    "ernie2_base": (110, {2000: 2.5e-5, 4000: 5e-5, 24_000: 5e-5 * 28 / 30, 124_000: 5e-5 * 18 / 30, 299_999: 2e-10}),
    "wklm_base": (108, {5000: 5e-6, 10_000: 1e-5, 505_000: 5e-6}),
    # 3e9 tokens up; rows of 8,192 at 3e-4; the last 5e10 fall as 1 - sqrt: a quarter of the way, half is done.
    "modern_base": (
        149,
        {
            318: 4e-4,
            636: 8e-4,
            364_302: 8e-4,
            364_303: 3e-4,
            417_284: 3e-4,
            417_284 + 2649: 3e-4 * 0.5005,
            427_880: 3e-7,
        },
    ),
    "crammed": (120, {2475: 5e-4, 4950: 1e-3, 4950 + 2519: 1e-3 * (1 - 7 / 15 * 2519 / 2520), 7470: 8 / 15 * 1e-3}),
}


def config_of(name):
    return importlib.import_module(f"configs.{name}").config


@pytest.mark.parametrize(("name", "millions"), [(name, figures[0]) for name, figures in RECIPES.items()])
def test_size(name, millions):
    config = config_of(name)
    params = bert.abstract_params(config.model, parts_of(config))
    assert sum(math.prod(p.shape) for p in jax.tree.leaves(params)) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(("name", "rates"), [(name, figures[1]) for name, figures in RECIPES.items()])
def test_learning_rates(name, rates):
    phases = config_of(name).phases
    schedules = [
        load("bert_jax.training.schedules", phase.schedule)(phase.steps, phase.learning_rate) for phase in phases
    ]
    schedule = optax.join_schedules(schedules, list(np.cumsum([phase.steps for phase in phases])[:-1]))
    for step, rate in rates.items():
        assert float(schedule(step)) == pytest.approx(rate, rel=1e-4, abs=1e-9), step


@pytest.mark.parametrize("name", RECIPES)
def test_every_variant_and_option_exists(name):
    config = config_of(name)
    assert config.name == name
    state = jax.eval_shape(
        load("bert_jax.training.optimizers", config.optimizer)(lambda _: 0.0).init, bert.abstract_params(config.model)
    )
    assert len(jax.tree.leaves(state)) > 20
    for package, variant in {
        "bert_jax.objectives": config.objectives[-1],
        "bert_jax.modeling.positions": config.model.positions,
        "data_pipeline.rows": config.data.rows,
        "data_pipeline.sentences": config.data.sentences,
        "data_pipeline.tokenizers": config.data.tokenizer,
        "data_pipeline.sources": config.data.sources[0],
    }.items():
        load(package, variant)


@pytest.mark.parametrize("name", RECIPES)
def test_opens_with_what_it_is(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    for part in (f"--config=configs/{name}.py", "Source: ", "Expected: ", "Needs: ", "Departs: "):
        assert part in text


@pytest.mark.parametrize("name", RECIPES)
def test_vocabulary_of_tokenizer_and_model_agree(name):
    config = config_of(name)
    assert config.data.tokenizer.options["vocab_size"] == config.model.vocab_size

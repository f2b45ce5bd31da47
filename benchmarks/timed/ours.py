"""Our side: the demo's recipe through the library's own step and batches, at the size that is asked for."""

import dataclasses
import importlib
import importlib.util
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from configs.demo import config as demo

from benchmarks.timed import Asked, Rows, check_rows
from bert_jax.config import Config, Model
from bert_jax.modeling.bert import encode
from bert_jax.modeling.heads import mlm_head
from bert_jax.runtime import precision, sharding
from bert_jax.training import setup, start
from bert_jax.training.state import init_state
from bert_jax.training.step import jit_train_step
from configuration import flags as config_flags
from data_pipeline.store import Store


class Ours:
    """A `System`."""

    def __init__(self, asked: Asked, store: str):
        if importlib.util.find_spec("tensorflow"):
            importlib.import_module("tensorflow")  # which reads ahead; otherwise it is imported beside the first steps
        self._store = Store.open(store)
        self._config = precision.settled(recipe(asked, self._store))
        self._mesh = setup.check(self._config)
        self._objective = setup.make_objective(self._config, self._store)
        examples = self._examples()
        setup.check_fields(self._config, self._objective, examples)
        check_rows(asked, store, examples.rows)
        began = time.perf_counter()
        self._vectors = start.word_vectors(self._config, self._store)
        self.head_start = time.perf_counter() - began
        in_float32 = dataclasses.replace(self._config.model, dtype="float32")
        self._logits = jax.jit(lambda params, rows: logits(in_float32, params, rows))
        self.facts: dict[str, Any] = {
            "dtype": self._config.model.dtype,
            "versions": {"jax": jax.__version__, "numpy": np.__version__},
        }

    def _examples(self) -> Any:
        return setup.open_examples(self._config, self._store, 0, self._objective.needs)

    def begin(self, steps: int) -> None:
        phase = dataclasses.replace(self._config.phases[0], steps=steps)
        config = dataclasses.replace(self._config, phases=(phase,))
        self._update = jit_train_step(config, phase, self._objective, self._mesh)
        self._state = init_state(config, self._mesh, self._store.token_counts, vectors=self._vectors)
        self.facts["parameters"] = sum(x.size for x in jax.tree.leaves(self._state["params"]))
        examples = self._examples()
        batch = sharding.put_batch(examples.batch(0, phase.batch_size), self._mesh)
        _, self._metrics = self._update(jax.tree.map(jnp.copy, self._state), batch)  # compiles; the update is lost
        self.wait()
        self._batches = setup.device_batches(examples, phase, 0, self._mesh)

    def step(self) -> None:
        before = self._metrics
        self._state, self._metrics = self._update(self._state, next(self._batches))
        jax.block_until_ready(before)  # the loop is one step ahead of the device, no more

    def wait(self) -> None:
        jax.block_until_ready(self._metrics)

    def logits(self, rows: Rows) -> np.ndarray:
        needed = {name: rows[name] for name in ("tokens", "segments", "positions", "token_types", "target_positions")}
        return np.asarray(self._logits(self._state["params"], needed))


def recipe(asked: Asked, store: Store) -> Config:
    """The demo's, with the encoder, rows and learning rate that are asked for, and then the changes."""
    replace = dataclasses.replace
    phase = replace(demo.phases[0], length=asked.length, batch_size=asked.batch_size, learning_rate=asked.learning_rate)
    model = replace(
        demo.model,
        vocab_size=store.vocab_size,
        layers=asked.layers,
        width=asked.width,
        heads=asked.heads,
        mlp_width=asked.gated_width,
        max_length=asked.length,
        unroll=asked.layers,
        dtype="float32" if "float32" in asked.ways else demo.model.dtype,
    )
    data = replace(demo.data, store=str(store.path))
    config = replace(demo, model=model, data=data, phases=(phase,), seed=asked.seed)
    return config_flags.override(config, dict(asked.changes))


def logits(model: Model, params: Any, rows: dict[str, jax.Array]) -> jax.Array:
    """float32 [B, P, V] at `target_positions`."""
    return mlm_head.logits(model, params, encode(model, params, rows, None, rows["target_positions"]))

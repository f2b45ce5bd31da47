"""A training step of ours and one of the peer on the same batches, each in a process of its own. What the benchmarks
of training steps share; not a command.

The processes take turns: one works while the others sleep, so that a slow spell of the machine hits all alike.
"""

import dataclasses
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from bert_jax.runtime import heap

PAD, CLS, SEP, MASK, FIRST = 0, 2, 3, 4, 5  # token ids
Step = Callable[[], float]  # does one step and waits for it; gives the loss


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step has to do: the size of the model and of the batch."""

    layers: int
    width: int
    rows: int  # B
    length: int  # L
    vocab_size: int = 30522
    dropout: float = 0.1
    mask_rate: float = 0.15

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def predictions(self) -> int:
        """P, predicted places in a row."""
        return max(1, round(self.mask_rate * self.length))

    @property
    def name(self) -> str:
        return f"{self.layers}×{self.width}, {self.rows}×{self.length}"


def make_batch(work: Work, documents: int = 1, seed: int = 0) -> dict[str, np.ndarray]:
    """Full rows of random tokens, [B, L], of so many documents each."""
    rng = np.random.default_rng(seed)
    shape = (work.rows, work.length)
    ends = np.sort(rng.integers(1, work.length, (work.rows, documents - 1)), axis=1)
    segments = 1 + (np.arange(work.length)[None, :, None] >= ends[:, None, :]).sum(-1)
    starts = np.where(np.diff(segments, axis=1, prepend=0) > 0, np.arange(work.length), 0)
    return {
        "tokens": rng.integers(FIRST, work.vocab_size, shape).astype(np.uint16),
        "segments": segments.astype(np.int32),
        "positions": (np.arange(work.length) - np.maximum.accumulate(starts, axis=1)).astype(np.int32),
        "token_types": np.zeros(shape, np.int32),
    }


def ours(work: Work, changes: Mapping[str, Any] | None = None, documents: int = 1) -> Step:
    """Our train step as training runs it: corruption, forward, backward, clipping and optimizer.

    Args:
      changes: fields of the configuration, as on the command line.
    """
    return step_of(make_config(work, changes), make_batch(work, documents))


def step_of(config: Any, batch: Mapping[str, np.ndarray]) -> Step:
    """The train step of a configuration on a batch."""
    import jax

    from bert_jax.runtime import sharding
    from bert_jax.training.state import init_state
    from bert_jax.training.step import jit_train_step

    mesh = sharding.make_mesh(config.mesh)
    state = init_state(config, mesh)
    update = jit_train_step(config, config.phases[0], make_objective(config), mesh)
    on_mesh = sharding.put_batch(batch, mesh)
    kept = [state]

    def step() -> float:
        kept[0], metrics = update(kept[0], on_mesh)
        return float(jax.block_until_ready(metrics)["loss"])

    return step


def make_config(work: Work, changes: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a step."""
    from bert_jax.config import Config, Model, Phase, use
    from configuration import flags as config_flags

    model = Model(
        vocab_size=work.vocab_size,
        layers=work.layers,
        width=work.width,
        heads=work.heads,
        mlp_width=4 * work.width,
        max_length=max(work.length, 512),
        dropout=work.dropout,
        attention_dropout=work.dropout,
    )
    config = Config(
        "step",
        (Phase(steps=1000, length=work.length, batch_size=work.rows, learning_rate=1e-4),),
        model=model,
        objective=use("mlm", mask_rate=work.mask_rate),
        optimizer=use("adamw"),
    )
    return config_flags.override(config, {name: str(value) for name, value in (changes or {}).items()})


def make_objective(config: Any) -> Any:
    """The configured objective, on the ids of `make_batch`."""
    from bert_jax.objectives import Vocabulary
    from configuration.variants import load

    vocabulary = Vocabulary(size=config.model.vocab_size, pad=PAD, cls=CLS, sep=SEP, mask=MASK)
    return load("bert_jax.objectives", config.objective)(config.model, vocabulary)


def torch_bert(
    work: Work, *, dtype: str = "float32", compiled: bool = False, gather: bool = True, device: str = "cpu"
) -> Step:
    """Hugging Face's BertForMaskedLM, SDPA attention, fused AdamW, clipped gradients, masks drawn each step.

    Args:
      dtype: of autocast; weights and moments are float32.
      gather: logits at the predicted places alone, which is quicker than the class's own loss over all.
    """
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=work.vocab_size,
        num_hidden_layers=work.layers,
        hidden_size=work.width,
        num_attention_heads=work.heads,
        intermediate_size=4 * work.width,
        max_position_embeddings=max(work.length, 512),
        hidden_dropout_prob=work.dropout,
        attention_probs_dropout_prob=work.dropout,
        attn_implementation="sdpa",
    )
    model = transformers.BertForMaskedLM(config).to(device).train()
    return torch_step(model, model.bert, model.cls, work, dtype=dtype, compiled=compiled, gather=gather, device=device)


def torch_step(
    model: Any, encoder: Any, head: Any, work: Work, *, dtype: str, compiled: bool, gather: bool, device: str
) -> Step:
    """A training step of a PyTorch model in float32 or with autocast."""
    import torch
    from torch.nn.functional import cross_entropy

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    tokens = torch.from_numpy(make_batch(work)["tokens"].astype(np.int64)).to(device)
    rows = torch.arange(work.rows, device=device)[:, None]

    def loss_of(shown: Any, places: Any, targets: Any) -> Any:
        hidden = encoder(shown)[0]
        if gather:
            return cross_entropy(head(hidden[rows, places]).flatten(0, 1).float(), targets.flatten())
        labels = torch.full_like(shown, -100).scatter(1, places, targets)
        return cross_entropy(head(hidden).flatten(0, 1).float(), labels.flatten())

    loss_fn = torch.compile(loss_of) if compiled else loss_of

    def step() -> float:
        places = torch.rand(tokens.shape, device=device).topk(work.predictions).indices
        targets = tokens.gather(1, places)
        kind = torch.rand(places.shape, device=device)
        words = torch.randint(0, work.vocab_size, places.shape, device=device)
        shown = tokens.scatter(1, places, torch.where(kind < 0.8, MASK, torch.where(kind < 0.9, words, targets)))
        with torch.autocast(device, getattr(torch, dtype), enabled=dtype != "float32"):
            loss = loss_fn(shown, places, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def matmul_jax(size: int = 1536, dtype: str = "float32") -> Step:
    """A product of square matrices by XLA, summed in float32; `matmul_flops_of` says how much work it is."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((size, size), dtype)
    product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))

    def step() -> float:
        jax.block_until_ready(product(x, x))
        return 0.0

    return step


def matmul_torch(size: int = 1536, dtype: str = "float32") -> Step:
    """As `matmul_jax`, by PyTorch."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    x = torch.ones(size, size, dtype=getattr(torch, dtype))

    def step() -> float:
        torch.mm(x, x)
        return 0.0

    return step


def matmul_flops_of(size: int = 1536) -> float:
    """Floating-point operations of that product."""
    return 2.0 * size**3


def take_turns(
    makers: Mapping[str, Callable[[], Step]],
    rounds: int,
    seconds: float = 0.0,
    patience: float | None = None,
    in_background: Collection[str] = (),
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Times the steps, one after the other, `rounds` times; each in its own process and warmed up.

    Args:
      seconds: how long at least a turn lasts; a turn's figure is the mean of its steps. 0 for one step, without the
        untimed one with which a turn otherwise begins: of a process that slept, caches are cold and the kernel may have
        taken pages, which makes its next step up to twice as long.
      in_background: steps that compile while the others do, which saves time on a machine with many cores.
      patience: seconds that one may take to compile and warm up; None for any.

    Returns:
      seconds a step of each turn, and the reasons why some did not run.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[str, Any] = {}
    failed: dict[str, str] = {}
    try:
        for name, maker in makers.items():
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(maker, there), daemon=True)
            process.start()
            there.close()
            workers[name] = process, here
            if name in in_background:
                here.send(0.0)
        for name in sorted(makers, key=lambda name: name in in_background):
            process, connection = workers[name]
            ready = _receive(connection, patience) if name in in_background else _ask(connection, 0.0, patience)
            if isinstance(ready, str):
                failed[name] = ready
                process.kill()
        turns: dict[str, list[float]] = {name: [] for name in makers if name not in failed}
        for _ in range(rounds):
            for name in list(turns):
                if isinstance(took := _ask(workers[name][1], seconds), str):  # such as killed for its memory
                    failed[name] = took
                    del turns[name]
                else:
                    turns[name].append(took)
        return turns, failed
    finally:
        for process, _ in workers.values():
            process.kill()
            process.join()


def _ask(connection: Any, seconds: float, patience: float | None = None) -> float | str:
    try:
        connection.send(seconds)
    except BrokenPipeError:
        return "its process died"
    return _receive(connection, patience)


def _receive(connection: Any, patience: float | None) -> float | str:
    try:
        return connection.recv() if connection.poll(patience) else f"not ready after {patience:.0f} s"
    except EOFError:
        return "its process died"


def _serve(maker: Callable[[], Step], connection: Any) -> None:
    connection.recv()
    heap.tune()  # the peers too: otherwise each asks for the pages of its arrays anew in every step
    try:
        step = maker()
        for _ in range(2):  # the first compiles
            step()
        connection.send(0.0)
    except Exception as error:
        connection.send(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return
    while True:
        least = connection.recv()
        if least:
            step()
        steps, start = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - start < least:
            step()
            steps += 1
        connection.send((time.perf_counter() - start) / steps)


def ratios(turns: Mapping[str, list[float]], name: str, of: str) -> float:
    """The median over the rounds of one step's time by another's of the same round."""
    return statistics.median(a / b for a, b in zip(turns[name], turns[of], strict=True))

"""How fast rows become masked batches, against PyTorch's DataLoader on the same tokens.

    python benchmarks/feeding.py --store=runs/demo/workdir/store --json=feeding.json --png=feeding.png

Ours: rows of the store through tf.data, masks drawn by the jitted corruption of the mlm objective, as
in training. The peer: `torch.utils.data.DataLoader` with two workers and `DataCollatorForLanguageModeling`
over the same text, cut into full rows of the same length beforehand and held in memory: once as the dicts
that `run_mlm.py` of transformers hands over, with the mask of special tokens made beforehand, and once as
bare tensors, which the collator takes a shorter way. Text tokens are counted, padding is not. Every
measurement has a process of its own; they take turns, and the median of the rounds is shown. The share
waiting is the time that a loop which otherwise sleeps, as while a device trains on `--train_tokens` a
second, spends from asking for a masked batch to having it.
"""

import concurrent.futures
import functools
import importlib
import itertools
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from absl import flags

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import charts
from configuration import cli
from configuration.variants import use
from data_pipeline.batches import pipeline
from data_pipeline.batches.assembly import Specials
from data_pipeline.store import Store

FLAGS = flags.FLAGS
PAD, CLS, SEP, MASK = 0, 2, 3, 4  # the ids do not matter for speed
WORKERS = 2

Way = Callable[[str, int, int], Generator[int, None, None]]  # store, batch size, length → text tokens of each batch


def define() -> None:
    charts.define()
    flags.DEFINE_string("store", None, "Prepared store.", required=True)
    flags.DEFINE_integer("batch_size", 256, "B, rows in a batch.")
    flags.DEFINE_integer("length", 512, "L, tokens in a row.")
    flags.DEFINE_float("seconds", 8, "How long each measurement lasts.")
    flags.DEFINE_integer("rounds", 3, "How often each is measured.")
    flags.DEFINE_float("train_tokens", 2e6, "Tokens a second that are trained on while the share waiting is measured.")


def main() -> dict[str, float]:
    ways: dict[str, Way] = {
        "rows": rows,
        "rows_and_masks": rows_and_masks,
        "dataloader_dicts": functools.partial(dataloader, dicts=True),
        "dataloader_tensors": functools.partial(dataloader, dicts=False),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(FLAGS.rounds):
        for name, way in ways.items():
            measurement = functools.partial(rate, way, FLAGS.store, FLAGS.batch_size, FLAGS.length, FLAGS.seconds)
            rates[name].append(in_fresh_process(measurement))
    figures = {f"{name}_tokens_per_second": statistics.median(values) for name, values in rates.items()}
    print(f"{'':<46}{'million text tokens/s':>22}")
    for name, what in {
        "rows": "rows, ready for the device",
        "rows_and_masks": "rows with their masks drawn",
        "dataloader_dicts": f"DataLoader, {WORKERS} workers, dicts, masks drawn",
        "dataloader_tensors": f"DataLoader, {WORKERS} workers, tensors, masks drawn",
    }.items():
        print(f"{what:<46}{figures[f'{name}_tokens_per_second'] / 1e6:>22.1f}")
    speeds = {name: figures[f"{name}_tokens_per_second"] / 1e6 for name in ways}
    charts.bars({f"{FLAGS.batch_size} × {FLAGS.length}": speeds}, "million text tokens a second")
    step = FLAGS.batch_size * FLAGS.length / FLAGS.train_tokens
    arguments = (FLAGS.store, FLAGS.batch_size, FLAGS.length, FLAGS.seconds, step)
    figures["share_waiting"] = in_fresh_process(functools.partial(share_waiting, *arguments))
    what = f"share waiting, training on {FLAGS.train_tokens / 1e6:g} million a second"
    print(f"{what:<46}{figures['share_waiting']:>22.1%}")
    for kind in ("dicts", "tensors"):
        times = figures["rows_and_masks_tokens_per_second"] / figures[f"dataloader_{kind}_tokens_per_second"]
        figures[f"times_dataloader_{kind}"] = times
        print(f"{f'rows with masks / DataLoader, {kind}':<46}{times:>21.1f}×")
    return figures


def in_fresh_process(measurement: functools.partial) -> float:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measurement).result()


def rate(way: Way, store: str, batch_size: int, length: int, seconds: float) -> float:
    """Text tokens a second that `way` yields, after its first ten batches."""
    counts = way(store, batch_size, length)
    for _ in range(10):
        next(counts)
    tokens, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        tokens += next(counts)
    speed = tokens / (time.perf_counter() - start)
    counts.close()  # lets workers and reading threads end
    return speed


def import_tf_data() -> None:
    """A training imports it beside its first steps; here it is no part of what is measured."""
    importlib.import_module("tensorflow")


def rows(store: str, batch_size: int, length: int) -> Generator[int, None, None]:
    """Yields the number of text tokens of each batch."""
    import_tf_data()
    split = Store.open(store).split("train")
    specials = Specials(PAD, CLS, SEP)
    examples = pipeline.PackedText([split], use("full_sentences"), length, specials)
    for batch in pipeline.batches(examples, batch_size, 0):
        yield int(np.count_nonzero(batch["segments"]))


def rows_and_masks(store: str, batch_size: int, length: int) -> Generator[int, None, None]:
    """As `rows`; four batches are on the device at a time, as when a training step is waited for later."""
    import jax

    from bert_jax.config import Model, use
    from bert_jax.objectives import Vocabulary, mlm

    import_tf_data()
    vocabulary = Vocabulary(size=Store.open(store).vocab_size, pad=PAD, cls=CLS, sep=SEP, mask=MASK)
    corrupt = jax.jit(mlm.build(Model(), vocabulary).corrupt)
    split = Store.open(store).split("train")
    examples = pipeline.PackedText([split], use("full_sentences"), length, Specials(PAD, CLS, SEP))
    waiting = []
    for step, batch in enumerate(pipeline.batches(examples, batch_size, 0)):
        count = int(np.count_nonzero(batch["segments"]))
        waiting.append((corrupt(batch, jax.random.key(step)), count))
        if len(waiting) > 4:
            masked, count = waiting.pop(0)
            jax.block_until_ready(masked)
            yield count


def share_waiting(store: str, batch_size: int, length: int, seconds: float, step: float) -> float:
    """The share of a loop's time that goes to waiting for masked batches, where each is used for `step` seconds."""
    batches = rows_and_masks(store, batch_size, length)
    for _ in range(10):
        next(batches)
    waited, start = 0.0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        time.sleep(step)
        asked = time.perf_counter()
        next(batches)
        waited += time.perf_counter() - asked
    share = waited / (time.perf_counter() - start)
    batches.close()
    return share


def dataloader(store: str, batch_size: int, length: int, *, dicts: bool) -> Generator[int, None, None]:
    """As `rows`."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    opened = Store.open(store)
    text = np.concatenate([np.asarray(shard.tokens[: 1 << 24]) for shard in opened.split("train").shards])[: 1 << 24]
    grouped = text[: len(text) // (length - 2) * (length - 2)].reshape(-1, length - 2).astype(np.int64)
    rows = torch.from_numpy(np.pad(grouped, ((0, 0), (1, 1)), constant_values=((0, 0), (CLS, SEP))))
    special = torch.zeros(length, dtype=torch.long)
    special[[0, -1]] = 1
    names = {PAD: "[PAD]", CLS: "[CLS]", SEP: "[SEP]", MASK: "[MASK]"}
    vocabulary = {names.get(i, f"piece{i}"): i for i in range(opened.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocabulary, unk_token="piece1")),
        **{f"{name.strip('[]').lower()}_token": name for name in names.values()},
    )
    dataset = [{"input_ids": row, "special_tokens_mask": special} for row in rows] if dicts else list(rows)
    loader = torch.utils.data.DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        collate_fn=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
        persistent_workers=True,
        prefetch_factor=4,
    )
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        yield batch["input_ids"].numel()


if __name__ == "__main__":
    cli.run(main, define)

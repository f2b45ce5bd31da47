"""Batches: a pure function of (store, row format, length, seed, step, batch size).

The examples of a run are one endless stream. Example p stands in epoch p // R of its split's R
rows, at the position that a permutation keyed by (seed, epoch) gives; batch k is the next B
examples. No state is kept between batches: a run resumes at any step at once, and every
host reads its part of the same global batch, however many hosts there are.

tf.data reads ahead on threads of its own. `Examples.batch` is the same without TensorFlow, byte for
byte; where TensorFlow is not installed, or still being imported, Python threads read ahead.
"""

import collections
import concurrent.futures
import functools
import importlib.util
import itertools
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from configuration.variants import Variant
from data_pipeline.batches.assembly import Batch, Reader, Specials
from data_pipeline.batches.batch_sizes import BatchSizes, constant
from data_pipeline.batches.mixture import Mixture
from data_pipeline.batches.permutation import hashed, permute
from data_pipeline.batches.row_index import Facts, open_index
from data_pipeline.errors import DataError
from data_pipeline.store import Split

_THREADS = 1  # two are slower: they contend for the interpreter's lock; see benchmarks/README.md
_AHEAD = 4  # batches that wait for the training step
_AT_ONCE = 2  # batches that a run asks for before its first step
_EMPTY = -1  # the number of a row of padding


def specials_of(tokenizer: Any) -> Specials:
    """The ids that rows need of a tokenizer."""
    return Specials(pad=tokenizer.pad_id, cls=tokenizer.cls_id, sep=tokenizer.sep_id)


class Examples(Protocol):
    """The endless stream of examples of a run, by number: what all training data offers. Pure functions of the seed."""

    @property
    def rows(self) -> int: ...  # R, in an epoch
    @property
    def length(self) -> int: ...  # L
    @property
    def fields(self) -> Collection[str]: ...  # names of the arrays in a batch
    def batch(self, first: int, size: int) -> Batch: ...  # the examples number first … first + size - 1


class PackedText:
    """`Examples` of a store's text in rows of a format.

    Args:
      splits: where the rows come from; several make a mixture (see `mixed`).
      rows_format: a file of data_pipeline/rows and its options.
      length: L, tokens in a row.
      specials: ids of the padding and of the tokens that rows add.
      seed: of the order of the rows in each epoch, and of what a pair format draws.
      isolate: documents of a row do not attend to each other: each has its [CLS] and counts positions from 0.
      weights: of the splits, in examples; without them as many as each has rows.
      annotations: of the store that a batch has, by name.

    Raises:
      ConfigError: no such format, or an option that it does not have.
      DataError: a split without rows, a row length below 8, or weights that make no mixture.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        rows_format: Variant,
        length: int,
        specials: Specials,
        *,
        seed: int = 0,
        isolate: bool = True,
        weights: Sequence[float] = (),
        annotations: Collection[str] = (),
    ):
        self.length = length
        self._seed = seed
        self._readers = [
            Reader(split, open_index(split, rows_format, length, isolate), specials, annotations) for split in splits
        ]
        self._rows = [reader.index.facts.rows for reader in self._readers]
        self.rows = sum(self._rows)  # R of all splits together
        self._mixture = Mixture(weights or self._rows) if len(splits) > 1 else None

    @functools.cached_property
    def fields(self) -> Collection[str]:
        return self.batch(0, 1).keys()

    def batch(self, first: int, size: int) -> Batch:
        """The examples number `first` to `first + size - 1`; a dict of arrays [size, L]: see `batches`."""
        examples = np.arange(first, first + size)
        if self._mixture is None:
            return self._of_split(0, examples)
        splits, examples = self._mixture.locate(examples)
        parts = [(np.flatnonzero(splits == split), split) for split in np.unique(splits)]
        order = np.argsort(np.concatenate([places for places, _ in parts]))
        batches = [self._of_split(int(split), examples[places]) for places, split in parts]
        return {name: np.concatenate([batch[name] for batch in batches])[order] for name in batches[0]}

    def _of_split(self, split: int, examples: np.ndarray) -> Batch:
        reader, rows = self._readers[split], self._rows[split]
        epochs = examples // rows
        chosen = permute(examples % rows, rows, hashed(self._seed, split, epochs))
        return reader.read(chosen, lambda: hashed(self._seed, split, epochs, chosen, 1))


def mixed(split: Split, weights: Sequence[float]) -> list[Split]:
    """The `splits` of `PackedText` that these weights mix: one for each source, or the split as it is without weights.

    Args:
      weights: one for each source of the store, in the order of its configuration; or none.

    Raises:
      DataError: another number of weights, or a weight of a source without a document in this split.
    """
    if not weights:
        return [split]
    sources = split.by_source()
    lacking = [i for i in range(len(weights)) if i not in sources]
    if lacking or len(weights) != len(sources):
        reason = f"no text of source {lacking[0]}" if lacking else f"{len(sources)} sources"
        raise DataError(
            f"config.data.weights is {tuple(weights)}, but {split.shards[0].path.parent} has {reason} to train on;"
            " give one weight for each source that the store was prepared from"
        )
    return list(sources.values())


def batches(
    examples: Examples,
    batch_size: int | BatchSizes,
    start: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    first_example: int = 0,
) -> Iterator[Batch]:
    """This host's part of the global batches number `start`, `start + 1`, … without end.

    Args:
      batch_size: B, rows of the global batch; of every step, where it grows.
      process_index: which of the `process_count` hosts this is; it reads B / process_count rows of each batch.
      first_example: where in the stream batch 0 begins.

    Yields:
      A dict of arrays [B / process_count, L]: tokens int32; segments int32, the document's number within
      the row from 1, 0 for padding; positions int32, from 0 in each isolated document; token_types int32,
      1 in the second part of a pair; each annotation under its name: starts as bool, also at special tokens and
      where a cut unit goes on, not at padding; labels as uint8, 0 at special tokens and padding. A pair format adds
      pair_label int32 [B / process_count].

    Raises:
      DataError: fewer rows than a batch, or a batch size that the hosts do not divide.
    """
    sizes = constant(batch_size) if isinstance(batch_size, int) else batch_size
    for size in (stage.batch_size for stage in sizes.stages):
        if examples.rows < size:
            raise DataError(
                f"the split has {examples.rows} rows of {examples.length} tokens, fewer than a batch of {size}: "
                "give a smaller batch_size, shorter rows or more text"
            )
        if size % process_count:
            raise DataError(
                f"a batch of {size} rows cannot be shared out to {process_count} hosts; make batch_size a multiple"
            )

    def read(step: int) -> Batch:
        first, size = sizes.at(step)
        share = size // process_count
        return examples.batch(first_example + first + process_index * share, share)

    through = _through_tf_data_soon if importlib.util.find_spec("tensorflow") else _through_threads
    return through(read, start)


def evaluation_batches(
    split: Split,
    rows_format: Variant,
    length: int,
    batch_size: int,
    specials: Specials,
    *,
    max_rows: int,
    isolate: bool = True,
    annotations: Collection[str] = (),
) -> Iterator[Batch]:
    """At most `max_rows` rows of a split, evenly spread and in order; rows of padding fill the last batch.

    Raises:
      As `PackedText`.
    """
    reader = Reader(split, open_index(split, rows_format, length, isolate), specials, annotations)
    rows = reader.index.facts.rows
    wanted = min(rows, max_rows)
    chosen = np.arange(wanted) * rows // wanted
    filled = np.append(chosen, np.full(-wanted % batch_size, _EMPTY))
    return (reader.read(part, functools.partial(hashed, 0, part)) for part in filled.reshape(-1, batch_size))


def row_facts(split: Split, rows_format: Variant, length: int, *, isolate: bool = True) -> Facts:
    """What a row format makes of a split: rows, share of padding, row lengths, share of cut documents."""
    return open_index(split, rows_format, length, isolate).facts


def _through_tf_data_soon(read: Callable[[int], Batch], start: int) -> Iterator[Batch]:
    """tf.data once TensorFlow is imported: the first step need not wait for those seconds. Threads read until then."""
    first = _through_threads(read, start)
    for _ in range(_AT_ONCE):
        yield next(first)
    with concurrent.futures.ThreadPoolExecutor(1) as importer:
        imported = importer.submit(importlib.import_module, "tensorflow")
        step = start + _AT_ONCE
        while not imported.done():
            yield next(first)
            step += 1
    first.close()
    imported.result()
    yield from _through_tf_data(read, step)


def _through_tf_data(read: Callable[[int], Batch], start: int) -> Iterator[Batch]:
    """Reads ahead through tf.data, restricted to the CPU and to a few threads."""
    import tensorflow as tf

    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    sample = read(start)
    signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in sample.values()]

    def arrays_of(step: np.int64) -> list[np.ndarray]:
        return list(read(int(step)).values())

    def load(step: tf.Tensor) -> dict[str, tf.Tensor]:
        arrays = tf.numpy_function(arrays_of, [step], [s.dtype for s in signature], stateful=False)
        return {name: tf.ensure_shape(array, s.shape) for name, array, s in zip(sample, arrays, signature, strict=True)}

    options = tf.data.Options()
    options.threading.private_threadpool_size = _THREADS
    dataset = tf.data.Dataset.range(start, np.iinfo(np.int64).max)
    dataset = dataset.map(load, num_parallel_calls=_THREADS, deterministic=True).prefetch(_AHEAD)
    return iter(dataset.with_options(options).as_numpy_iterator())


def _through_threads(read: Callable[[int], Batch], start: int) -> Generator[Batch, None, None]:
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        ahead = collections.deque(pool.submit(read, step) for step in range(start, start + _AHEAD))
        for step in itertools.count(start + _AHEAD):
            batch = ahead.popleft().result()
            ahead.append(pool.submit(read, step))
            yield batch

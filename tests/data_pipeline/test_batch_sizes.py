"""Batch sizes that grow: one stream of examples without a gap, on any number of hosts, from any step."""

import itertools

import numpy as np
import pytest
from texts import SPECIALS, store

from configuration.variants import use
from data_pipeline.batches import batch_sizes, pipeline
from data_pipeline.batches.batch_sizes import BatchSizes, Stage
from data_pipeline.errors import DataError


@pytest.mark.parametrize(
    ("first", "last", "increment", "examples"), [(4, 12, 4, 24), (256, 4096, 256, 10**7), (3, 3, 1, 0), (8, 64, 8, 1)]
)
def test_every_step_takes_what_follows_the_one_before(first, last, increment, examples):
    sizes = batch_sizes.warm_up(first, last, increment, examples)
    taken, last_step = 0, sizes.stages[-1].first_step
    for step in range(last_step + 3):
        size = sizes.stage_at(step).batch_size
        assert sizes.at(step) == (taken, size)
        assert size == (last if step >= last_step else size)
        taken += size
    assert [stage.batch_size for stage in sizes.stages] == list(range(first, last + 1, increment))
    assert abs(sizes.stages[-1].first_example - examples) <= max(examples / 100, sum(range(first, last, increment)))
    far = 10**12
    assert sizes.at(far) == (sizes.stages[-1].first_example + (far - last_step) * last, last)


@pytest.mark.parametrize("through", [pipeline._through_tf_data, pipeline._through_threads])
@pytest.mark.parametrize("hosts", [1, 4])
def test_the_stream_has_no_gap(tmp_path, monkeypatch, hosts, through):
    monkeypatch.setattr(pipeline, "_through_tf_data", through)
    split = store(tmp_path, [[5] * (d % 4 + 1) for d in range(90)]).split("train")
    examples = pipeline.PackedText([split], use("full_sentences"), 16, SPECIALS, seed=3)
    sizes = batch_sizes.warm_up(4, 12, 4, 24)  # 3 steps of 4, 2 of 8 (1.5 rounded), then 12
    assert sizes.stages == ((0, 0, 4), (3, 12, 8), (5, 28, 12))
    for start, begin in ((0, 0), (4, 20)):  # from the start, and resumed within a stage
        by_host = [
            itertools.islice(
                pipeline.batches(examples, sizes, start, process_index=host, process_count=hosts), 7 - start
            )
            for host in range(hosts)
        ]
        batches = [np.concatenate([part["tokens"] for part in parts]) for parts in zip(*by_host, strict=True)]
        assert [len(batch) for batch in batches] == [4, 4, 4, 8, 8, 12, 12][start:]
        assert np.array_equal(np.concatenate(batches), examples.batch(begin, 52 - begin)["tokens"])


def test_sizes_that_cannot_be(tmp_path):
    for wrong in [(8, 4, 1, 9), (4, 12, 3, 9), (0, 4, 1, 9), (4, 8, 0, 9)]:
        with pytest.raises(DataError, match=r"a batch size cannot grow from .* make the difference a multiple"):
            batch_sizes.warm_up(*wrong)
    for stages in [(), (Stage(0, 4, 4),), (Stage(0, 0, 4), Stage(3, 11, 8)), (Stage(0, 0, 4), Stage(0, 0, 8))]:
        with pytest.raises(DataError, match="batch sizes"):
            BatchSizes(stages)
    split = store(tmp_path, [[5] * 9] * 30).split("train")
    examples = pipeline.PackedText([split], use("full_sentences"), 16, SPECIALS)
    with pytest.raises(DataError, match="6 rows cannot be shared out to 4 hosts"):
        pipeline.batches(examples, batch_sizes.warm_up(4, 8, 2, 9), 0, process_count=4)

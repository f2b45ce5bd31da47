"""What is kept of texts that are too long, and windows over them whose answers are averaged."""

import numpy as np
import pytest

from bert_jax.tasks._texts import cut, flat, mean_over_windows

TEXT = list(range(100, 140))  # 40 tokens; a row of 22 has room for 20


@pytest.mark.parametrize(
    ("truncation", "wanted"),
    [
        ("head", [TEXT[:20]]),
        ("tail", [TEXT[-20:]]),
        ("head_tail", [TEXT[:5] + TEXT[-15:]]),
        ("windows", [TEXT[0:20], TEXT[8:28], TEXT[16:36], TEXT[20:40]]),
    ],
)
def test_what_is_kept_of_a_long_text(truncation, wanted) -> None:
    assert cut([TEXT], 22, truncation, 8) == [[part] for part in wanted]
    assert cut([TEXT[:20]], 22, truncation, 8) == [[TEXT[:20]]]


def test_head_and_tail_of_a_row_of_512_are_those_of_sun_et_al() -> None:
    """The first 128 and the last 382 of 510 tokens (arXiv 1905.05583, section 5.3.1), but for rounding."""
    text = list(range(1000))
    ((kept,),) = cut([text], 512, "head_tail", 0)
    assert len(kept) == 510
    assert abs(kept.index(text[-1]) - kept.index(text[618 + 1]) - 381) <= 1
    assert kept[:127] == text[:127]


@pytest.mark.parametrize("sizes", [(40, 3), (3, 40), (40, 40), (11, 12), (9, 10), (0, 40)])
def test_pairs_lose_the_end_of_the_longer_as_longest_first(sizes) -> None:
    """Token by token, off the longer text, as transformers' longest_first does."""
    first, second = (list(range(size)) for size in sizes)
    wanted = [len(first), len(second)]
    while sum(wanted) > 19:
        longer = 0 if wanted[0] > wanted[1] else 1
        wanted[longer] -= 1
    ((a, b),) = cut([first, second], 22, "head", 0)
    assert sorted((len(a), len(b))) == sorted(wanted)
    assert abs(len(a) - wanted[0]) <= 1
    assert (a, b) == (first[: len(a)], second[: len(b)])


@pytest.mark.parametrize("stride", [1, 7, 20, 100])
def test_windows_show_every_token_and_are_full(stride) -> None:
    found = [part for (part,) in cut([TEXT], 22, "windows", stride)]
    assert {len(part) for part in found} == {20}
    assert set().union(*found) == set(TEXT)
    assert len({tuple(part) for part in found}) == len(found)


def test_the_mean_over_windows_is_that_of_each_record() -> None:
    encoded = flat([[1]] * 5, [[0]] * 5, [0, 0, 1, 2, 2])
    values = np.array([[1.0, 0], [0, 1], [0.2, 0.8], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(mean_over_windows(values, encoded, 3), [[0.5, 0.5], [0.2, 0.8], [0.75, 0.25]])

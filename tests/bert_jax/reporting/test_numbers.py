"""Numbers in words."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_jax.reporting.numbers import compact, decimals, duration, percent, ratio, short, whole


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (compact, 0, "0"),
        (compact, 950, "950"),
        (compact, 129.4, "129"),
        (compact, 5.256, "5.26"),
        (compact, 999.9, "1.00k"),
        (compact, 9412.7, "9.41k"),
        (compact, 12_345, "12.3k"),
        (compact, 999_499, "999k"),
        (compact, 999_500, "1.00M"),
        (compact, 109_482_240, "109M"),
        (compact, 1.2e9, "1.20B"),
        (compact, math.nan, "–"),
        (short, 0.5, "0.5"),
        (short, 7500, "7.5k"),
        (short, 10_000, "10k"),
        (short, 1_500_000, "1.5M"),
        (whole, 7_210_334, "7,210,334"),
        (percent, 0.2314, "23.1%"),
        (percent, 0.0005, "0.05%"),
        (percent, 0, "0.0%"),
        (ratio, 0.0018, "0.0018"),
        (ratio, 5e-5, "5e-5"),
        (ratio, 1e-10, "1e-10"),
        (duration, 0, "0 ms"),
        (duration, 0.85, "850 ms"),
        (duration, 1.26, "1.3 s"),
        (duration, 42.4, "42 s"),
        (duration, 59.7, "1 min"),
        (duration, 500.2, "8 min 20 s"),
        (duration, 3599.9, "1 h"),
        (duration, 7500, "2 h 5 min"),
        (duration, 273_600, "3 d 4 h"),
        (duration, math.inf, "–"),
    ],
)
def test_numbers_read_well(write, value, text):
    assert write(value) == text


def test_decimals_have_a_real_minus_sign():
    assert [decimals(value, 2) for value in (-1.257, 1234.5, math.nan)] == ["−1.26", "1,234.50", "–"]


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_is_right_to_half_its_smaller_unit(seconds):
    units = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
    words = duration(seconds).split()
    read = sum(float(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    smallest = {"ms": 0.001, "s": 1, "min": 1, "h": 60, "d": 3600}[words[1]]
    assert abs(read - seconds) <= smallest / 2 * (1 + 1e-9)
    assert len(words) <= 4

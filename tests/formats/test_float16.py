"""float32 to float16: every number that lies next to a float16, or between two of them, as NumPy's cast rounds it."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm.formats import float16

HALVES = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
"""All that are finite and not negative, in order."""

MIDDLES = (HALVES[:-1] + HALVES[1:]) / np.float32(2)
"""Exact: float32 has more digits."""

AROUND = np.concatenate([np.nextafter(x, np.float32(end)) for x in (HALVES, MIDDLES) for end in (0, 65504)])
NUMBERS = np.concatenate([HALVES, MIDDLES, AROUND])


def check(numbers: np.ndarray) -> None:
    """Compare with NumPy's cast, of which float16 is what C defines it to be."""
    out = np.empty(numbers.size, np.float16)
    float16.round_within(numbers, out, float16.scratch(numbers.size + 5))
    np.testing.assert_array_equal(out.view(np.uint16), numbers.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("sign", [1, -1])
def test_every_number_next_to_a_tie(sign: int) -> None:
    """As normal numbers, and with a few among them that are not, which are rounded apart."""
    numbers = NUMBERS * np.float32(sign)
    normal = numbers[np.abs(numbers) >= 2.0**-14]
    small = numbers[np.abs(numbers) < 2.0**-14]
    check(normal)
    rng = np.random.default_rng(0)
    for some in np.array_split(rng.permutation(small), len(small) // 1000):
        check(rng.permutation(np.concatenate([normal[:20000], some])))


def test_numbers_of_which_most_are_small() -> None:
    check(NUMBERS[NUMBERS < 2.0**-13])
    check(np.zeros(100, np.float32))
    check(np.float32([1e-45, -1e-39, 6e-8, -0.0, 0.0, 2.0**-14]))


def test_no_numbers() -> None:
    check(np.zeros(0, np.float32))


def test_random_weights() -> None:
    check(np.random.default_rng(1).standard_normal(100_001, np.float32) * np.float32(0.1))

"""The floating-point mode of kernels, at the edge of the normal numbers, where CPUs differ: as the pages say."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from numba_lstm.simd.float_mode import flush_denormals, restore_mode
from numba_lstm.simd.target import host


@numba.njit
def products(a, b, out):  # type: ignore[no-untyped-def]
    """Multiply in the mode of kernels."""
    mode = flush_denormals()
    for k in range(len(a)):
        out[k] = a[k] * b[k]
    restore_mode(mode)


@pytest.mark.skipif(host().architecture == "other", reason="kernels have no mode of their own there")
@pytest.mark.parametrize(("dtype", "half"), [(np.float32, 13), (np.float64, 28)])
def test_results_just_below_the_normal_numbers(dtype: Any, half: int) -> None:
    """Rounded up to the smallest one by x86, and 0 by Arm; further below they are 0 everywhere."""
    least, small = np.finfo(dtype).tiny, dtype(2.0**-half)
    a = np.array([1 - small, 1 - small, 0.5, 1], dtype)
    b = np.array([(1 + small) * least, least, least, least], dtype)
    out = np.empty_like(a)
    products(a, b, out)
    edge = 0.0 if host().architecture == "aarch64" else least
    np.testing.assert_array_equal(out, np.array([edge, 0, 0, least], dtype))
    np.testing.assert_array_equal(a[:2] * b[:2], [least, (1 - small) * least])  # the thread's own mode is as before

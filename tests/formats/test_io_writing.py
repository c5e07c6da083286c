"""What `io.write` is given: all of it is read back, or nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numba_lstm import LSTM, io
from numba_lstm.formats import bfloat16

by_suffix = pytest.mark.parametrize("suffix", [".safetensors", ".npz"])


# --- arrays -------------------------------------------------------------------------------------------------
class Variable:
    """What gives a masked array when it is asked for its numbers, as those of files of measurements do."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.ma.masked_all(3, np.float32)


MASKED = {
    "some": np.ma.masked_less([3.0, -1.0], 0),
    "none": np.ma.masked_array(np.ones(3), mask=False),
    "no mask at all": np.ma.masked_array(np.ones(3)),
    "bfloat16": np.ma.masked_array(np.zeros(3, bfloat16.DTYPE)),
    "a number": np.ma.masked,
    "a record": np.ma.masked_array(np.zeros(1, "f4,f4"), mask=[(True, False)])[0],
    "of another library": Variable(),
}


@by_suffix
@pytest.mark.parametrize("array", MASKED.values(), ids=MASKED)
def test_masks_are_not_dropped(tmp_path: Path, suffix: str, array: Any) -> None:
    path = tmp_path / ("a" + suffix)
    path.write_bytes(b"older")
    with pytest.raises(TypeError, match=r"^speed is a masked array, and which of its numbers count .*filled\(value\)$"):
        io.write(path, {"time": np.ones(3), "speed": array})
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


@by_suffix
@pytest.mark.parametrize("value", [[1.0, 2.0], (np.ones(2),), 3.0, None, "text", np.ndarray])
def test_what_is_no_array(tmp_path: Path, suffix: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^speed should be a NumPy array, got: {type(value).__name__}$"):
        io.write(tmp_path / ("a" + suffix), {"speed": value})
    assert not list(tmp_path.iterdir())


@by_suffix
def test_other_arrays_are_written_as_plain_ones(tmp_path: Path, suffix: str) -> None:
    path, array = tmp_path / ("a" + suffix), np.ones((2, 3), np.float32)
    given = {"parameter": LSTM(3, 5).weight_ih_l0, "number": np.float32(3), "rows": array.view(np.recarray)}
    io.write(path, given)  # type: ignore[arg-type]
    for name, read in io.read(path).items():
        assert type(read) is np.ndarray
        np.testing.assert_array_equal(read, np.asarray(given[name]), strict=True)

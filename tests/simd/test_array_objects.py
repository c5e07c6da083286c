"""What compiled code reads of NumPy's arrays, beside what Python says of them."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from support.layouts import every_second, read_only, unaligned

from numba_lstm.simd import array_objects
from numba_lstm.simd.array_objects import (
    ArrayObject,
    axes_of,
    data_of,
    dtype_of,
    flags_of,
    itemsize_of,
    length_of,
    stride_of,
    type_of,
)

ARRAYS: dict[str, np.ndarray] = {
    "one axis": np.arange(7, dtype=np.float32),
    "two axes": np.ones((3, 5), np.float32),
    "five axes": np.ones((2, 1, 3, 1, 4), np.float32),
    "no rows": np.ones((0, 4), np.float32),
    "Fortran order": np.ones((3, 5), np.float32, order="F"),
    "strided": every_second(np.ones((3, 5), np.float32)),
    "broadcast": np.broadcast_to(np.float32(3), (4, 6)),
    "read-only": read_only(np.ones((3, 5), np.float32)),
    "unaligned": unaligned(np.ones((3, 5), np.float32)),
    "float64": np.ones((3, 5)),
    "other byte order": np.ones((3, 5), ">f4"),
    "masked": np.ma.ones((3, 5), np.float32),
    "objects": np.full((3, 5), None),
}


@pytest.fixture(scope="module")
def fields() -> Any:
    """What reads all fields of an object into the int64 array that is given first."""

    def read(target, array):  # type: ignore[no-untyped-def]
        numbers = data_of(target)
        numbers[0], numbers[1], numbers[2] = type_of(array), dtype_of(array), itemsize_of(array)
        numbers[3], numbers[4] = axes_of(array), flags_of(array)
        for axis in range(axes_of(array)):
            numbers[5 + 2 * axis], numbers[6 + 2 * axis] = length_of(array, axis), stride_of(array, axis)

    dispatcher = numba.njit(read)
    dispatcher.compile(numba.void(ArrayObject(numba.int64), ArrayObject(numba.float32)))
    (compiled,) = dispatcher.overloads.values()
    return compiled.entry_point


@pytest.mark.parametrize("name", ARRAYS)
def test_fields(fields: Any, name: str) -> None:
    array = ARRAYS[name]
    found = np.full(16, -1, np.int64)
    fields(found, array)
    assert [*found[:4]] == [id(type(array)), id(array.dtype), np.dtype(np.float32).itemsize, array.ndim]
    end = 5 + 2 * array.ndim
    assert (tuple(found[5:end:2]), tuple(found[6:end:2])) == (array.shape, array.strides)
    assert (found[end:] == -1).all()
    flags = array.flags
    dense = flags.c_contiguous and flags.aligned
    for wanted, expected in ((array_objects.READABLE, dense), (array_objects.WRITABLE, dense and flags.writeable)):
        assert (found[4] & wanted == wanted) == expected


OTHER_PLACES = {
    "TYPE": "DATA",
    "DATA": "TYPE",
    "AXES": "DATA",
    "SHAPE": "STRIDES",
    "STRIDES": "SHAPE",
    "DTYPE": "TYPE",
    "FLAGS": "AXES",
}


@pytest.mark.parametrize("name", OTHER_PLACES)
def test_arrays_that_lie_otherwise_in_memory(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As those of a NumPy that is to come may: nothing is computed then."""
    array_objects.check_layout()
    monkeypatch.setattr(array_objects, name, getattr(array_objects, OTHER_PLACES[name]))
    with pytest.raises(ImportError, match=r"arrays of NumPy .* lie in memory in a way that is not known here"):
        array_objects.check_layout()

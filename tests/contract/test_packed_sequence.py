"""Sequences of different lengths: literal cases, errors, properties, and torch's own functions side by side."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numba_lstm as ours
from numba_lstm.contract import padding
from numba_lstm.contract.checks.sequences import check_lengths, integers
from numba_lstm.contract.packed_sequence import PackedSequence

DTYPES = ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"]


def check_same(actual: Any, expected: Any) -> None:
    """Compare arrays, tensors, and sequences of them, dtype and shape included."""
    if expected is None:
        assert actual is None
    elif isinstance(expected, tuple | list):
        assert len(actual) == len(expected)
        for a, b in zip(actual, expected, strict=True):
            check_same(a, b)
    else:
        expected = np.asarray(expected)
        assert isinstance(actual, np.ndarray)
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected, strict=True)


def rows_by_definition(sequences: list[np.ndarray]) -> np.ndarray:
    """Pack as the definition says, one element at a time: steps ascending, within a step the longest first."""
    order = sorted(range(len(sequences)), key=lambda k: -len(sequences[k]))
    longest = len(sequences[order[0]])
    return np.array([sequences[k][t] for t in range(longest) for k in order if t < len(sequences[k])])


# --- literal cases --------------------------------------------------------------------------------------------
SEQUENCES = [np.array([1, 2]), np.array([3, 4, 5]), np.array([6])]
PADDED = np.array([[1, 2, 0], [3, 4, 5], [6, 0, 0]])
PACKED = PackedSequence(np.array([3, 1, 6, 4, 2, 5]), np.array([3, 2, 1]), np.array([1, 0, 2]))


def test_pack() -> None:
    assert ours.pack_sequence(SEQUENCES, enforce_sorted=False) == PACKED
    assert ours.pack_sequence((s for s in SEQUENCES), enforce_sorted=False) == PACKED
    for batch_first, padded in ((True, PADDED), (False, PADDED.T)):
        assert ours.pack_padded_sequence(padded, [2, 3, 1], batch_first, enforce_sorted=False) == PACKED
    check_same(PACKED.unsorted_indices, np.array([1, 0, 2]))


def test_pack_sorted_keeps_no_indices() -> None:
    packed = ours.pack_sequence([SEQUENCES[1], SEQUENCES[0]])
    check_same(tuple(packed), (np.array([3, 1, 4, 2, 5]), np.array([2, 2, 1]), None, None))


def test_pad() -> None:
    lengths = np.array([2, 3, 1])
    check_same(ours.pad_packed_sequence(PACKED, batch_first=True), (PADDED, lengths))
    check_same(ours.pad_packed_sequence(PACKED), (PADDED.T, lengths))
    wide = np.array([[1, 2, -7, -7], [3, 4, 5, -7], [6, -7, -7, -7]])
    check_same(ours.pad_packed_sequence(PACKED, True, -7, 4), (wide, lengths))
    check_same(ours.pad_sequence(SEQUENCES, batch_first=True), PADDED)
    check_same(ours.pad_sequence(SEQUENCES), PADDED.T)
    left = np.array([[9, 1, 2], [3, 4, 5], [9, 9, 6]])
    check_same(ours.pad_sequence(SEQUENCES, True, 9, "left"), left)


def test_unpack() -> None:
    check_same(ours.unpack_sequence(PACKED), SEQUENCES)
    check_same(ours.unpad_sequence(PADDED, [2, 3, 1], batch_first=True), SEQUENCES)
    check_same(ours.unpad_sequence(PADDED.T, [0, 3, 1]), [np.array([], np.int64), *SEQUENCES[1:]])


def test_ties_keep_their_order() -> None:
    lengths = np.tile([2, 3], 40)
    order, inverse = padding.sort_by_length(lengths)
    check_same(order, np.concatenate([np.arange(1, 80, 2), np.arange(0, 80, 2)]))
    check_same(order[inverse], np.arange(80))


def test_nothing_is_shared_or_changed() -> None:
    padded, lengths = PADDED.copy(), np.array([2, 3, 1])
    padded.setflags(write=False)
    packed = ours.pack_padded_sequence(padded, lengths, True, False)
    for part in ours.unpad_sequence(padded, lengths, True) + ours.unpack_sequence(packed):
        part[...] = -1
    packed.data[...] = -1
    check_same(padded, PADDED)
    check_same(lengths, np.array([2, 3, 1]))


def test_padding_is_not_looked_at() -> None:
    padded = np.full((3, 2, 2), np.nan, np.float32)
    padded[:, 0], padded[0, 1] = 1, 2
    assert not np.isnan(ours.pack_padded_sequence(padded, [3, 1]).data).any()


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda v: np.array(v, np.uint8), lambda v: np.array(v, float)])
def test_lengths_of_any_kind(kind: Callable[[list[int]], Any]) -> None:
    assert ours.pack_padded_sequence(PADDED, kind([2, 3, 1]), True, False) == PACKED
    check_same(ours.unpad_sequence(PADDED, kind([2, 3, 1]), True), SEQUENCES)


def test_first_dtype_wins() -> None:
    mixed = [np.array([1, 2], np.float32), np.array([3], np.int64)]
    check_same(ours.pad_sequence(mixed), np.array([[1, 3], [2, 0]], np.float32))
    check_same(ours.pack_sequence(mixed).data, np.array([1, 3, 2], np.float32))


def first_then(dtype: Any, later: Any) -> list[np.ndarray]:
    """Return two sequences, the first one of a dtype, with zeros."""
    return [np.zeros((2,) + later.shape[1:], dtype), later]


BEYOND = {
    "int8, positive": first_then("i1", np.array([1, 128])),
    "int8, negative": first_then("i1", np.array([-129, 1])),
    "int8 of uint8": first_then("i1", np.array([200], "u1")),
    "int64 of uint64": first_then("i8", np.array([2**63], "u8")),
    "uint8 of uint16": first_then("u1", np.array([256], "u2")),
    "int32 in the other byte order": first_then(">i4", np.array([2**31])),
    "float16": first_then("f2", np.array([1.0, 1e5])),
    "float16 of integers": first_then("f2", np.array([-100_000])),
    "float32": first_then("f4", np.array([[1.0, 1e39], [np.inf, np.nan]])),
    "complex64, real": first_then("c8", np.array([1e39 + 1j])),
    "complex64, imaginary": first_then("c8", np.array([1 - 1e39j])),
    "complex64, beside inf": first_then("c8", np.array([complex(np.inf, 1e39)])),
    "complex64 of floats": first_then("c8", np.array([-1e39])),
}
"""A later sequence has a number that the first one's dtype has not; torch lets it wrap, or makes it inf."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("join", [ours.pack_sequence, ours.pad_sequence])
@pytest.mark.parametrize("sequences", BEYOND.values(), ids=BEYOND)
def test_numbers_beyond_the_first_dtype(join: Callable[..., Any], sequences: list[np.ndarray]) -> None:
    words = re.escape(f"sequences[1] has numbers that do not fit the first one's dtype {sequences[0].dtype}")
    with pytest.raises(ValueError, match=f"^{words}$"):
        join(sequences)


WITHIN = {
    "int8": (first_then("i1", np.array([-128, 127])), [-128, 127]),
    "int64": (first_then("i8", np.array([2**63 - 1], "u8")), [2**63 - 1]),
    "uint8": (first_then("u1", np.array([0, 255], "u8")), [0, 255]),
    "integers of truth values": (first_then("i1", np.array([True, False])), [1, 0]),
    "float16": (first_then("f2", np.array([65504.0, 1e-30, np.nan, -np.inf])), [65504, 0, np.nan, -np.inf]),
    "float32": (first_then("f4", np.array([1e-60, 0.1, np.inf])), np.float32([0, 0.1, np.inf])),
    "float32 of integers": (first_then("f4", np.array([2**24 + 1])), [2**24]),
    "complex64": (first_then("c8", np.array([complex(1e-60, -np.inf)])), [complex(0, -np.inf)]),
    "none at all": (first_then("i1", np.zeros(0, np.int64)), []),
    "longer texts": ([np.array(["abc"]), np.array(["d"])], ["d"]),
    "objects": ([np.array([10**30]), np.array([2])], [2]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("sequences", "expected"), WITHIN.values(), ids=WITHIN)
def test_numbers_that_the_first_dtype_has(sequences: list[np.ndarray], expected: Any) -> None:
    """They are rounded, as torch rounds them."""
    if sequences[0].dtype.kind != "U":  # for which there is no padding
        rows = ours.pad_sequence(sequences, batch_first=True)
        check_same(rows[1, : len(sequences[1])], np.array(expected, sequences[0].dtype))
    if len(sequences[1]):
        packed = ours.pack_sequence(sequences, enforce_sorted=False)
        check_same(ours.unpack_sequence(packed)[1], np.array(expected, sequences[0].dtype))


@pytest.mark.parametrize(
    "sequences",
    [
        [np.array([1], "u1"), np.array([1])],
        [np.array([1]), np.array([1.5])],
        [np.array([1.0]), np.array([1j])],
        [np.array(["ab"]), np.array(["abc"])],
        [np.array([b"ab"]), np.array([b"abc"])],
        [np.array(["ab"]), np.array([1])],
        [np.array(["2000"], "M8[D]"), np.array(["2000-01-01T01"], "M8[h]")],
        [np.array(["2000"], "M8[ns]"), np.array(["3000"], "M8[D]")],
        [np.zeros(1, "V2"), np.zeros(1, "V4")],
        [np.array([1.0]), np.array([1, None])],
    ],
    ids=lambda sequences: f"{sequences[1].dtype} after {sequences[0].dtype}",
)
def test_dtypes_that_do_not_fit_the_first(sequences: list[np.ndarray]) -> None:
    words = f"sequences[1] of dtype {sequences[1].dtype} does not fit the first one's {sequences[0].dtype}"
    for join in (ours.pack_sequence, ours.pad_sequence):
        with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
            join(sequences)


def test_bfloat16_of_another_library() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    first = np.zeros(2, ml_dtypes.bfloat16)
    check_same(ours.pack_sequence([first, np.array([1.5])]).data, np.array([0, 1.5, 0], ml_dtypes.bfloat16))
    with pytest.raises(ValueError, match="numbers that do not fit the first one's dtype bfloat16"):
        ours.pack_sequence([first, np.array([1e39])])
    first = np.zeros(2, ml_dtypes.float8_e4m3fn)  # which has nan, and no inf
    packed = ours.pack_sequence([first, np.array([448, np.nan])]).data
    check_same(packed.astype("f4"), np.float32([0, 448, 0, np.nan]))
    with pytest.raises(ValueError, match="numbers that do not fit the first one's dtype float8_e4m3fn"):
        ours.pack_sequence([first, np.array([1.5, 1e39])])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "within", "beyond"),
    [
        ("bfloat16", [1.5, 0.1, 1e-60, 3e38, np.inf, np.nan], [1e39, -1e300, 10**400]),
        ("float8_e5m2", [1.5, 0.1, -57344, -np.inf, np.nan], [1e5, 10**400]),
        ("float8_e4m3fn", [1.5, 0.1, 448, np.nan], [1e5, np.inf, 10**400]),
        ("int4", [-8, 7, 1.5], [8, -9, 100, 1e39, np.inf, np.nan, 10**400]),
        ("uint4", [0, 15], [-1, 16, 10**400]),
    ],
)
def test_padding_of_another_library(kind: str, within: list[Any], beyond: list[Any]) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.zeros(2, getattr(ml_dtypes, kind))
    for value in within:
        padded = ours.pad_sequence([array, array[:1]], padding_value=value)
        np.testing.assert_array_equal(padded[1, 1].astype("f8"), np.array(value, array.dtype).astype("f8"))
    for value in beyond:
        with pytest.raises(ValueError, match=f"^padding_value {re.escape(str(value))} does not fit dtype {kind}$"):
            ours.pad_sequence([array, array[:1]], padding_value=value)


@pytest.mark.parametrize("dtype", ["i4", "f4", "?"])
def test_padding_that_python_does_not_write(dtype: str) -> None:
    """It has a limit of digits since 3.10.7, and an error of its own."""
    with pytest.raises(ValueError, match=f"^padding_value .* does not fit dtype {np.dtype(dtype)}$"):
        ours.pad_sequence([np.zeros(2, dtype)], padding_value=10**5000)


PADDING = [
    ("i1", 128), ("i1", -129), ("i1", 1e30), ("i1", np.nan), ("i1", -np.inf), ("u1", -1), ("u8", 2**64),
    ("u8", 2.0**64), ("i8", 2.0**63), ("f2", 1e5), ("f2", 10**400), ("f4", -1e39), ("f8", 10**400), ("c8", 1e39),
    ("c16", -(10**400)), ("?", 10**400), ("m8[s]", 1e30), ("M8[s]", 2**63), ("f4,i4", 10**400),
    ("U3", 0.0), ("U1", 0), ("S2", 0.0),
]  # fmt: skip
"""Dtypes, and values that they do not have."""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("dtype", "value"), PADDING, ids=lambda each: str(each)[:9])
def test_padding_beyond_the_dtype(dtype: str, value: Any) -> None:
    array = np.zeros(3, dtype)
    uses: list[Callable[[], Any]] = [
        lambda: ours.pad_sequence([array, array[:1]], padding_value=value),
        lambda: ours.pad_packed_sequence(PackedSequence(array, [2, 1]), padding_value=value),
    ]
    words = re.escape(f"padding_value {value} does not fit dtype {array.dtype}")
    for use in uses:
        with pytest.raises(ValueError, match=f"^{words}$"):
            use()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("i1", -128), ("u8", 2**64 - 1), ("f2", 65504.0), ("f2", -np.inf), ("f8", np.nan), ("f8", 10**300),
        ("c8", 1.5), ("c8", np.nan), ("c16", np.inf), ("?", 2), ("?", 10**300), ("?", np.nan), ("?", -np.inf),
        ("m8[s]", 3), (object, 10**400),
    ],
    ids=lambda each: str(each)[:9],
)  # fmt: skip
def test_padding_within_the_dtype(dtype: Any, value: Any) -> None:
    padded = ours.pad_sequence([np.zeros(2, dtype), np.zeros(1, dtype)], padding_value=value)
    check_same(padded[1, 1:], np.array([value], dtype))


@pytest.mark.parametrize("view", [lambda x: x[::-1], lambda x: x[:, :, ::2], lambda x: x.astype(">f4")])
def test_any_strides_and_byte_order(view: Callable[[np.ndarray], np.ndarray]) -> None:
    x = view(np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6))
    packed = ours.pack_padded_sequence(x, [3, 5, 1, 5], enforce_sorted=False)
    assert packed.data.dtype == x.dtype
    check_same(packed.data, rows_by_definition([x[:n, k] for k, n in enumerate([3, 5, 1, 5])]).astype(x.dtype))


def test_many_proteins() -> None:
    """As many residues as the 500 proteins of the demo; a loop over elements would show."""
    lengths = np.random.default_rng(0).integers(20, 1090, 500)
    sequences = [np.full((n, 2), k, np.int32) for k, n in enumerate(lengths)]
    packed = ours.pack_sequence(sequences, enforce_sorted=False)
    check_same(packed.data, rows_by_definition(sequences))
    check_same(ours.unpack_sequence(packed), sequences)


# --- PackedSequence -------------------------------------------------------------------------------------------
def test_is_a_tuple_of_its_fields() -> None:
    data, batch_sizes, sorted_indices, unsorted_indices = PACKED
    assert PackedSequence((data, batch_sizes), sorted_indices=sorted_indices) == PACKED
    assert PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices) == PACKED
    assert PACKED._fields == ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
    assert repr(PACKED) == (
        "PackedSequence(data=array([3, 1, 6, 4, 2, 5]), batch_sizes=array([3, 2, 1]), "
        "sorted_indices=array([1, 0, 2]), unsorted_indices=array([1, 0, 2]))"
    )


def test_equality() -> None:
    unsorted = PackedSequence(PACKED.data, PACKED.batch_sizes)
    for equal in (PackedSequence(PACKED.data.copy(), [3, 2, 1], [1, 0, 2]), copy.copy(PACKED)):
        assert operator.eq(PACKED, equal) is True
        assert operator.ne(PACKED, equal) is False
    for other in (unsorted, PACKED._replace(data=-PACKED.data), tuple(PACKED), 3):
        assert operator.eq(PACKED, other) is False
        assert operator.ne(PACKED, other) is True
    assert copy.copy(unsorted) == unsorted
    with pytest.raises(TypeError, match="unhashable"):
        hash(PACKED)


@pytest.mark.parametrize("name", ["batch_sizes", "sorted_indices", "unsorted_indices"])
def test_what_kernels_trust_cannot_be_made_writable(name: str) -> None:
    """They read as many rows as batch_sizes says, wherever these are."""
    packed = ours.pack_sequence([np.zeros((length, 2), np.float32) for length in (2, 3)], enforce_sorted=False)
    copies = copy.deepcopy(packed), pickle.loads(pickle.dumps(packed)), packed._replace(data=packed.data + 1)
    for each in (packed, *copies):
        with pytest.raises(ValueError, match="cannot set WRITEABLE flag to True"):
            getattr(each, name).flags.writeable = True


def test_is_immutable() -> None:
    with pytest.raises(AttributeError):
        PACKED.data = PADDED  # type: ignore[misc]
    with pytest.raises(AttributeError):
        PACKED.other = 1  # type: ignore[attr-defined]
    batch_sizes = np.array([2, 1])
    packed = PackedSequence(np.zeros(3), batch_sizes, [1, 0])
    batch_sizes[:] = 7
    check_same(packed.batch_sizes, np.array([2, 1]))
    for field in packed[1:]:
        with pytest.raises(ValueError, match="read-only"):
            field[:] = 0  # type: ignore[index]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(protocol: int) -> None:
    for packed in (PACKED, PackedSequence(np.zeros((3, 2)), [2, 1])):
        again = pickle.loads(pickle.dumps(packed, protocol))
        assert type(again) is PackedSequence
        assert again == packed


def test_deepcopy_owns_its_data() -> None:
    again = copy.deepcopy(PACKED)
    again.data[0] = -1
    assert PACKED.data[0] == 3


# --- errors ---------------------------------------------------------------------------------------------------
X = np.zeros((4, 3), np.float32)
A, B = np.zeros(3), np.zeros(2)
UNORDERED = "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass"
NOT_POSITIVE = "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
COUNT = "Expected `len(lengths)` to be equal to batch_size, but got "
NOT_FLOAT = "pad_sequence(): argument 'padding_value' (position 3) must be float, not "
SHORT = "Expected total_length to be at least the length of the longest sequence in input, but got total_length=2"

# (function, positional arguments, keyword arguments, type, first words), the same in torch, save for the array's name.
TORCH_ERRORS: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("pack_padded_sequence", (X, [1, 4, 2]), {}, RuntimeError, UNORDERED),
    ("pack_padded_sequence", (X, [4, -1, 2]), {}, RuntimeError, UNORDERED),
    ("pack_padded_sequence", (X, [4, -(2**63), 2]), {}, RuntimeError, UNORDERED),
    ("pack_padded_sequence", (X, [4, 1, 0]), {}, RuntimeError, NOT_POSITIVE),
    ("pack_padded_sequence", (X, [1, 4, 0]), {}, RuntimeError, NOT_POSITIVE),
    ("pack_padded_sequence", (X, [0, 4, 1]), {"enforce_sorted": False}, RuntimeError, NOT_POSITIVE),
    ("pack_padded_sequence", (X, [4, 1]), {}, RuntimeError, COUNT + "2 (batch_size=3)"),
    ("pack_padded_sequence", (X, [4, 1, 1]), {"batch_first": True}, RuntimeError, COUNT + "3 (batch_size=4)"),
    ("pack_padded_sequence", (X, [[4, 1, 1]]), {}, RuntimeError, "'lengths' argument should be a 1D"),
    ("pack_padded_sequence", (X, 4), {}, RuntimeError, "'lengths' argument should be a 1D"),
    ("pack_padded_sequence", (X[:0], [1, 1, 1]), {}, RuntimeError, "Cannot pack empty tensors."),
    ("pack_padded_sequence", (X[:, :0], []), {"enforce_sorted": False}, RuntimeError, "Cannot pack empty tensors."),
    ("pack_padded_sequence", (X[:, :, None][..., :0], [4, 1, 1]), {}, RuntimeError, "Cannot pack empty tensors."),
    ("pack_padded_sequence", (X, "abc"), {}, TypeError, ""),
    ("pack_padded_sequence", (X, ["a", 2, 1]), {}, ValueError, ""),
    ("pack_padded_sequence", (X, None), {}, TypeError, ""),
    ("pack_padded_sequence", (X, iter([4, 2, 1])), {}, TypeError, ""),
    ("pack_padded_sequence", (X, [2**63, 1, 1]), {}, ValueError, ""),
    (
        "pack_padded_sequence", ([[1, 2]], [1, 1]), {}, TypeError,
        "pack_padded_sequence(): argument 'input' (position 1) must be",
    ),
    (
        "pack_padded_sequence", (X, [4, 2, 1], 1), {}, TypeError,
        "pack_padded_sequence(): argument 'batch_first' (position 3) must be bool, not int",
    ),
    ("pad_packed_sequence", (PACKED,), {"total_length": 2}, ValueError, SHORT),
    (
        "pad_packed_sequence", (PACKED,), {"total_length": 6.0}, TypeError,
        "pad_packed_sequence(): argument 'total_length' (position 5) must be int, not float",
    ),
    ("pad_packed_sequence", (PACKED,), {"total_length": "6"}, TypeError, ""),
    (
        "pad_packed_sequence", (PACKED,), {"padding_value": "6"}, TypeError,
        "pad_packed_sequence(): argument 'padding_value' (position 4) must be Number, not str",
    ),
    (
        "pad_packed_sequence", (PACKED, "x"), {}, TypeError,
        "pad_packed_sequence(): argument 'batch_first' (position 3) must be bool, not str",
    ),
    ("pad_sequence", ([],), {}, RuntimeError, "received an empty list of sequences"),
    ("pad_sequence", (5,), {}, RuntimeError, "pad_sequence: Expected iterable for input sequences, but got arg"),
    ("pad_sequence", ([[1, 2], [3]],), {}, TypeError, "expected "),
    ("pad_sequence", (np.array(1.0),), {}, TypeError, "iteration over a 0-d"),
    ("pad_sequence", ([A, B], None), {}, TypeError, "pad_sequence(): argument 'batch_first' (position 2) must be bool"),
    ("pad_sequence", ([A, B], False, "a"), {}, TypeError, NOT_FLOAT),
    ("pad_sequence", ([A, B], False, 1j), {}, TypeError, NOT_FLOAT),
    (
        "pad_sequence", ([A, B],), {"padding_side": "top"}, RuntimeError,
        "Expected padding_side to be one of left or right, but got top.",
    ),
    (
        "pad_sequence", ([A, B],), {"padding_side": None}, TypeError,
        "pad_sequence(): argument 'padding_side' (position 4) must be str, not NoneType",
    ),
    ("unpad_sequence", (X, np.array([2, 1])), {}, ValueError, ""),
    ("unpad_sequence", (X, np.array([2, 1, 1, 1])), {}, ValueError, ""),
    ("pack_sequence", ([B, A],), {}, RuntimeError, UNORDERED),
    ("pack_sequence", ([],), {}, RuntimeError, "received an empty list of sequences"),
    ("pack_sequence", ([A, A[:0]],), {}, RuntimeError, NOT_POSITIVE),
    ("pack_sequence", ([A[:0], A[:0]],), {}, RuntimeError, "Cannot pack empty tensors."),
    ("pack_sequence", (5,), {}, TypeError, "'int' object is not iterable"),
    ("PackedSequence", (A,), {}, AssertionError, "Expected data to be a list or tuple of length 2"),
    ("PackedSequence", ((A, A, A),), {}, AssertionError, "Expected data to be a list or tuple of length 2"),
    ("PackedSequence", (), {}, TypeError, ""),
]  # fmt: skip


def words(function: str) -> str:
    """Return a pattern for first words; torch puts an underscore before the name of some functions."""
    return "^_?" + re.escape(function)


@pytest.mark.parametrize(("function", "args", "kwargs", "error", "message"), TORCH_ERRORS)
def test_torchs_errors(
    function: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=words(message)) as caught:
        getattr(ours, function)(*args, **kwargs)
    assert type(caught.value) is error


def packed(data: Any, *fields: Any) -> Callable[[], PackedSequence]:
    return lambda: PackedSequence(data, *fields)


def call(function: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: getattr(ours, function)(*args, **kwargs)


D = np.zeros(7)
MANY = np.broadcast_to(np.int8(1), 2**60)


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        # torch packs what is not there, or less than there is.
        (call("pack_padded_sequence", X, [5, 1, 1]), ValueError, "lengths must be at most T = 4, but got 5"),
        (call("pack_padded_sequence", X, [1, 9, 1], enforce_sorted=False), ValueError, "lengths must be at most"),
        (call("pack_padded_sequence", X, [3.7, 1, 1]), ValueError, "lengths must be integers"),
        (call("pack_padded_sequence", X, [np.nan, 1, 1]), ValueError, "lengths must be integers"),
        (call("pack_padded_sequence", X, [True, True, True]), ValueError, "lengths must be integers"),
        (call("pack_padded_sequence", X, [2**80, 1, 1]), ValueError, "lengths must be integers"),
        (call("pack_padded_sequence", X, [[1], [1, 2]]), ValueError, "lengths must be 1-D"),
        (call("pack_padded_sequence", X, [1, 4], enforce_sorted=False), RuntimeError, re.escape(COUNT)),
        (call("pack_padded_sequence", X, [4, 2, 1], enforce_sorted="no"), TypeError, ".*'enforce_sorted'"),
        (call("unpad_sequence", X, 4), TypeError, "lengths must be a 1-D array or a list of integers, but got int"),
        (call("unpad_sequence", X, [[4, 1, 1]]), ValueError, r"lengths must be .* but got list of shape \(1, 3\)"),
        (call("unpad_sequence", X, [5, 1, 1]), ValueError, "lengths must be 3 integers of 0 to T = 4"),
        (call("unpad_sequence", X, [-1, 1, 1]), ValueError, "lengths must be"),
        (call("unpad_sequence", X, [1.5, 1, 1]), ValueError, "lengths must be integers"),
        (call("unpad_sequence", X, [1, 1, 1], "x"), TypeError, ".*'batch_first'"),
        # torch broadcasts, truncates or wraps.
        (call("pad_sequence", [np.zeros((3, 2)), np.zeros(2)]), ValueError, r"sequences\[1\]"),
        (call("pad_sequence", [np.zeros((3, 2)), np.zeros((3, 1))]), ValueError, r"sequences\[1\]"),
        (call("pack_sequence", [np.zeros((3, 2)), np.zeros((2, 1))]), ValueError, r"sequences\[1\]"),
        (call("pad_sequence", [np.array([1]), np.array([1.5])]), ValueError, r"sequences\[1\] of dtype float64"),
        (call("pad_sequence", [np.array([1], np.uint8)], padding_value=-1), ValueError, "padding_value -1"),
        (call("pad_sequence", [np.array([1])], padding_value=2**63), ValueError, "padding_value"),
        # torch's message names nothing that the caller wrote.
        (call("pack_padded_sequence", D, [1]), ValueError, "input must have at least 2 dimensions"),
        (call("unpad_sequence", D, [1]), ValueError, "padded_sequences must have at least 2 dimensions"),
        (call("unpad_sequence", [[1]], [1]), TypeError, ".*'padded_sequences'"),
        (call("pad_sequence", [np.array(1.0)]), ValueError, r"sequences\[0\]"),
        (call("pack_sequence", [A, np.array(1.0)]), ValueError, r"sequences\[1\]"),
        (call("pack_sequence", [A, B.tolist()]), TypeError, "expected ndarray as element 1"),
        (call("pad_sequence", [np.zeros((3, 2)), np.zeros((2, 3))]), ValueError, r"sequences\[1\]"),
        (call("pad_packed_sequence", X), TypeError, ".*'sequence' .* must be PackedSequence"),
        (call("unpack_sequence", X), TypeError, ".*'packed_sequences' .* must be PackedSequence"),
        (call("pad_packed_sequence", PACKED, padding_value=np.nan), ValueError, "padding_value nan"),
        (call("pad_packed_sequence", PACKED, padding_value=10**400), ValueError, "padding_value"),
        (call("pad_packed_sequence", PackedSequence(D, [7]), padding_value=10**400), ValueError, "padding_value"),
        (call("pad_sequence", [np.zeros(1, np.float32)], padding_value=1e39), ValueError, "padding_value"),
        # Fields that contradict each other.
        (packed(D, [2, 3, 2]), ValueError, "batch_sizes must be at least 1 and never increase"),
        (packed(D, [4, 3, 0]), ValueError, "batch_sizes must be at least 1"),
        (packed(D, [5, 3, -1]), ValueError, "batch_sizes must be at least 1"),
        (packed(D, [4.5, 2.5]), ValueError, "batch_sizes must be integers"),
        (packed(D, 7), TypeError, "batch_sizes must be a 1-D array or a list of integers, but got int"),
        (packed(D, [[4, 3]]), ValueError, r"batch_sizes must be .* but got list of shape \(1, 2\)"),
        (packed(D, []), RuntimeError, "batch_sizes can not be empty"),
        (packed(D, [3, 2, 1]), ValueError, "data must have .* = 6 rows"),
        (packed(D, [4, 4]), ValueError, "data must have .* = 8 rows"),
        (packed(np.array(1.0), [1]), ValueError, "data must have"),
        (packed(np.array(1.0), [2**62] * 4), ValueError, f"data must have .* = {2**64} rows"),
        # Sums and differences that wrap in 64 bits.
        (packed(D[:0], [2**62] * 4), ValueError, f"data must have .* = {2**64} rows"),
        (packed(D, [2**62] * 4 + [4, 3]), ValueError, f"data must have .* = {2**64 + 7} rows"),
        (packed(D, [2**63 - 1] * 2 + [5, 4]), ValueError, f"data must have .* = {2**64 + 7} rows"),
        (packed(MANY, [2**60] * 17), ValueError, f"data must have .* = {2**60 * 17} rows"),
        (packed(D, [-(2**63), 7]), ValueError, "batch_sizes must be at least 1 and never increase"),
        (packed(D, [2, -(2**63), 2**63 - 1]), ValueError, "batch_sizes must be at least 1 and never increase"),
        (packed(D, [2**63, 1]), ValueError, "batch_sizes must be integers"),
        (packed(D, [4, 3], [0, 1, 2, -(2**63)]), ValueError, "sorted_indices must permute"),
        (call("pack_padded_sequence", X, [2**63 - 1, 1, 1]), ValueError, "lengths must be at most T = 4"),
        (call("pack_padded_sequence", X, [-(2**63), 4, 1], enforce_sorted=False), RuntimeError, NOT_POSITIVE),
        (call("unpad_sequence", X, [-(2**63), 1, 1]), ValueError, "lengths must be"),
        (packed(D, [4, 3], [0, 1]), ValueError, "sorted_indices must permute"),
        (packed(D, [4, 3], [0, 1, 1, 2]), ValueError, "sorted_indices must permute"),
        (packed(D, [4, 3], [0, 1, 2, 9]), ValueError, "sorted_indices must permute"),
        (packed(D, [4, 3], [1, 2, 3, 0], [1, 2, 3, 0]), ValueError, "sorted_indices .* unsorted_indices be the"),
        (lambda: PACKED._replace(data=D), ValueError, "data must have"),
    ],
)
def test_where_torch_would_corrupt_or_confuse(run: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}") as caught:
        run()
    assert type(caught.value) is error


# --- what LSTM builds on --------------------------------------------------------------------------------------
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.booleans(), st.integers(0, 3))
def test_rows_of_a_padded_batch(lengths: list[int], batch_first: bool, more: int) -> None:
    steps, rows = max(lengths) + more, len(lengths)
    padded = np.arange(steps * rows * 2).reshape((rows, steps, 2) if batch_first else (steps, rows, 2))
    real = integers(lengths, "lengths")
    check_lengths(real, rows, steps)
    order, inverse = padding.sort_by_length(real)
    check_same(inverse[order], np.arange(rows))
    batch_sizes = padding.batch_sizes_of(real[order])
    check_same(batch_sizes, np.array([sum(n > t for n in lengths) for t in range(max(lengths))]))
    check_same(padding.batch_sizes_of(batch_sizes), real[order])
    index = padding.padded_rows(batch_sizes, order, steps, batch_first)
    data = padding.pack_rows(padded, index)
    by_row = padded if batch_first else padded.swapaxes(0, 1)
    check_same(data, rows_by_definition([x[:n] for x, n in zip(by_row, lengths, strict=True)]))
    again = np.full_like(padded, -1)
    padding.unpack_rows(data, index, again)
    beyond = np.arange(steps) >= real[:, None]
    check_same(again, np.where((beyond if batch_first else beyond.T)[..., None], -1, padded))


@pytest.mark.parametrize("unsorted", [[1, 2, 0], np.array([2, 0, 1]), [0, 1, 2]])
def test_unsorted_indices_alone(unsorted: Any) -> None:
    """They say what the others are."""
    data, sizes = np.arange(6.0), [3, 2, 1]
    packed = PackedSequence(data, sizes, None, unsorted)
    assert packed == PackedSequence(data, sizes, np.argsort(unsorted), unsorted)
    padded, lengths = ours.pad_packed_sequence(packed)
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.rnn.PackedSequence(*map(torch.as_tensor, (data, sizes)), None, torch.as_tensor(unsorted))
    expected = torch.nn.utils.rnn.pad_packed_sequence(theirs)
    np.testing.assert_array_equal(padded, expected[0].numpy())
    np.testing.assert_array_equal(lengths, expected[1].numpy())


@pytest.mark.parametrize("unsorted", [[1, 1], [0, 2], [0], [0, 1, 2], [-1, 0]])
def test_unsorted_indices_that_are_none(unsorted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"^unsorted_indices must permute range\(2\)$"):
        PackedSequence(np.arange(3.0), [2, 1], None, unsorted)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("trailing", [(0,), (2, 0), (0, 3)])
def test_no_features(trailing: tuple[int, ...], batch_first: bool) -> None:
    """As torch."""
    packed = PackedSequence(np.zeros((3, *trailing), np.float32), [2, 1], [1, 0])
    padded, lengths = ours.pad_packed_sequence(packed, batch_first, total_length=5)
    assert padded.shape == ((2, 5) if batch_first else (5, 2)) + trailing
    assert lengths.tolist() == [1, 2]
    assert [sequence.shape for sequence in ours.unpack_sequence(packed)] == [(1, *trailing), (2, *trailing)]
    rows = padding.padded_rows(packed.batch_sizes, packed.sorted_indices, 5, batch_first)
    assert padding.pack_rows(padded, rows).shape == packed.data.shape
    torch = pytest.importorskip("torch")
    theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(torch_arguments(packed), batch_first, total_length=5)
    assert tuple(theirs.shape) == padded.shape


def test_no_sequences() -> None:
    none = integers([], "lengths")
    check_lengths(none, 0, 5)
    order, inverse = padding.sort_by_length(none)
    assert not order.size
    assert not inverse.size
    assert not padding.padded_rows(padding.batch_sizes_of(none), order, 5, True).size


# --- torch ----------------------------------------------------------------------------------------------------
def torch_arguments(value: Any) -> Any:
    """Return torch's version of an argument: its tensors, its packed sequences."""
    torch = pytest.importorskip("torch")
    if isinstance(value, PackedSequence):
        return torch.nn.utils.rnn.PackedSequence(*map(torch_arguments, value))
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    return [torch_arguments(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("function", "args", "kwargs", "error", "message"), TORCH_ERRORS)
def test_torch_raises_the_same(
    function: str, args: tuple[Any, ...], kwargs: dict[str, Any], error: type[Exception], message: str
) -> None:
    torch = pytest.importorskip("torch")
    arguments = [torch_arguments(value) for value in args]
    if function == "pack_padded_sequence" and isinstance(args[0], list):
        arguments[0] = args[0]
    with pytest.raises(error, match=words(message)):
        getattr(torch.nn.utils.rnn, function)(*arguments, **kwargs)


@st.composite
def batches(draw: st.DrawFn, shortest: int = 1) -> list[np.ndarray]:
    """Draw sequences of one dtype and trailing shape."""
    dtype = draw(st.sampled_from(DTYPES), label="dtype")
    trailing = draw(st.sampled_from([(), (1,), (3,), (2, 3), (2, 1, 2)]), label="trailing")
    lengths = draw(st.lists(st.integers(shortest, 12), min_size=1, max_size=40), label="lengths")
    rng = np.random.default_rng(draw(st.integers(0, 99), label="seed"))
    return [rng.integers(0, 100, (n, *trailing)).astype(dtype) for n in lengths]


@given(batches(), st.booleans(), st.booleans(), st.data())
def test_packing_like_torch(
    sequences: list[np.ndarray], batch_first: bool, enforce_sorted: bool, data: st.DataObject
) -> None:
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    if enforce_sorted:
        sequences.sort(key=len, reverse=True)
    elif len(sequences) > 16:
        # Beyond 16, what torch makes of ties is not specified; without ties there is one answer.
        sequences = list({len(s): s for s in sequences}.values())
    lengths = [len(s) for s in sequences]
    tensors = [torch.from_numpy(s) for s in sequences]
    expected = rnn.pack_sequence(tensors, enforce_sorted)
    actual = ours.pack_sequence(sequences, enforce_sorted)
    check_same(tuple(actual), tuple(expected))
    more = data.draw(st.integers(0, 2), label="more padding")
    padded = torch.nn.functional.pad(
        rnn.pad_sequence(tensors, True), [0, 0] * (sequences[0].ndim - 1) + [0, more], value=1
    )
    padded = padded if batch_first else padded.transpose(0, 1)
    args = (lengths, batch_first, enforce_sorted)
    check_same(tuple(ours.pack_padded_sequence(padded.numpy(), *args)), tuple(rnn.pack_padded_sequence(padded, *args)))
    check_same(ours.unpack_sequence(actual), rnn.unpack_sequence(expected))
    total = data.draw(st.none() | st.integers(max(lengths), max(lengths) + 3), label="total_length")
    value = data.draw(padding_values(sequences[0].dtype), label="padding_value")
    check_same(
        ours.pad_packed_sequence(actual, batch_first, value, total),
        rnn.pad_packed_sequence(expected, batch_first, value, total),
    )


def padding_values(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    """Return values that fit a dtype: fractions too, which integers cut off."""
    common = st.sampled_from([0.0, 1, True, 1.75, 100, np.float32(3), np.int64(7)])
    if dtype.kind == "f":
        return common | st.sampled_from([-0.0, -2.5, np.nan, np.inf, -np.inf])
    return common | st.sampled_from([-1, -1.75]) if dtype.kind == "i" else common


@given(batches(), st.data())
def test_more_than_16_with_ties(sequences: list[np.ndarray], data: st.DataObject) -> None:
    """Whatever order torch gives ties, lengths, sizes and what comes back are the same."""
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    expected = rnn.pack_sequence([torch.from_numpy(s) for s in sequences], enforce_sorted=False)
    actual = ours.pack_sequence(sequences, enforce_sorted=False)
    check_same(actual.batch_sizes, expected.batch_sizes)
    # torch's packing, order and all, read by our functions.
    theirs = PackedSequence(*expected)
    assert theirs.sorted_indices is not None
    check_same(ours.unpack_sequence(theirs), sequences)
    check_same(ours.pad_packed_sequence(theirs), rnn.pad_packed_sequence(torch_arguments(actual)))


@given(batches(0), st.booleans(), st.sampled_from(["left", "right"]), st.data())
def test_padding_like_torch(sequences: list[np.ndarray], batch_first: bool, side: str, data: st.DataObject) -> None:
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    value = data.draw(padding_values(sequences[0].dtype), label="padding_value")
    expected = rnn.pad_sequence([torch.from_numpy(s) for s in sequences], batch_first, value, side)
    actual = ours.pad_sequence(sequences, batch_first, value, side)
    check_same(actual, expected)
    assert actual.flags.c_contiguous
    lengths = np.array([len(s) for s in sequences])
    before = actual.copy()
    parts = ours.unpad_sequence(actual, lengths, batch_first)
    check_same(parts, rnn.unpad_sequence(expected.clone(), torch.from_numpy(lengths), batch_first))
    check_same(actual, before)
    assert not any(map(np.shares_memory, parts, [actual] * len(parts)))


def test_signatures_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    for name in ("pack_padded_sequence", "pad_packed_sequence", "pad_sequence", "unpad_sequence", "pack_sequence",
                 "unpack_sequence", "PackedSequence"):  # fmt: skip
        theirs, mine = (
            [(p.name, p.default, p.kind) for p in inspect.signature(getattr(m, name)).parameters.values()]
            for m in (torch.nn.utils.rnn, ours)
        )
        assert mine == theirs, name


def test_tensors_are_taken() -> None:
    torch = pytest.importorskip("torch")
    packed = ours.pack_padded_sequence(torch.from_numpy(PADDED.copy()), torch.tensor([2, 3, 1]), True, False)
    assert packed == PACKED
    assert {type(field) for field in packed} == {np.ndarray}

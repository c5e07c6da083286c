"""NumPy's arrays as compiled code finds them in memory.

Numba makes of each array that Python passes a record of its own, with a count of who uses it: a tenth of a microsecond,
and twice that where weights have pushed Python's code out of L2.  What takes little longer itself reads the array's
object instead: it takes pointers to objects of any type, so that it has to look at their type first, and nothing is
allocated.  What it has read may change: of an array, nobody may set the shape or the memory during a call.

The object is that of NumPy's interface for C, which each extension that is compiled for NumPy 1 or 2 has built in.
`check_layout` compares it with what Python says of an array.
"""
from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core.datamodel.models import PrimitiveModel

from .vectors import intrinsic

HEAD = object.__basicsize__
"""Bytes of what all objects begin with, whose last word is the address of the type."""

TYPE, DATA, AXES, SHAPE, STRIDES = HEAD - 8, HEAD, HEAD + 8, HEAD + 16, HEAD + 24
DTYPE, FLAGS = HEAD + 40, HEAD + 48
"""Bytes before the fields of ``PyArrayObject``.  The numbers of axes and the flags are an ``int`` of C each."""

READABLE, WRITABLE = 0x101, 0x501
"""Flags of arrays that are aligned and in C order, without and with the permission to write."""

_BYTE, _INT, _WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)


class ArrayObject(types.Type):
    """The Numba type of a pointer to a Python object, hopefully an array of a dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"ArrayObject({dtype})")


@extending.register_model(ArrayObject)
class _ArrayObjectModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: ArrayObject) -> None:
        super().__init__(dmm, fe_type, _BYTE.as_pointer())


@extending.unbox(ArrayObject)
def _unbox(kind, obj, c):
    return extending.NativeValue(c.builder.bitcast(obj, _BYTE.as_pointer()))


def _field(builder: Any, obj: Any, place: int, kind: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(obj, [ir.Constant(_WORD, place)]), kind.as_pointer()))


def _number(place: int, kind: Any, doc: str) -> Any:
    @intrinsic
    def read(tyctx, array):
        def generate(context, builder, signature, args):
            number = _field(builder, args[0], place, kind)
            return builder.sext(number, _WORD) if kind is _INT else number

        return types.int64(array), generate

    read.__doc__ = doc
    return read


type_of = _number(TYPE, _WORD, "Return the address of an object's type.")
dtype_of = _number(DTYPE, _WORD, "Return the address of an array's dtype.")
axes_of = _number(AXES, _INT, "Return how many axes an array has.")
flags_of = _number(FLAGS, _INT, "Return the flags of an array.")


def _number_of_axis(place: int, doc: str) -> Any:
    @intrinsic
    def read(tyctx, array, axis):
        def generate(context, builder, signature, args):
            numbers = _field(builder, args[0], place, _WORD.as_pointer())
            return builder.load(builder.gep(numbers, [args[1]]))

        return types.int64(array, types.int64), generate

    read.__doc__ = doc
    return read


length_of = _number_of_axis(SHAPE, "Return the length of an axis, which must be there.")
stride_of = _number_of_axis(STRIDES, "Return how many bytes apart numbers along an axis are, which must be there.")


@intrinsic
def itemsize_of(tyctx, array):
    """Return the bytes of a number of the dtype of the Numba type, a constant."""
    size = array.dtype.bitwidth // 8
    return types.int64(array), lambda context, builder, signature, args: ir.Constant(_WORD, size)


@intrinsic
def data_of(tyctx, array):
    """Return a pointer to an array's first element, of the dtype of the Numba type."""
    result = types.CPointer(array.dtype)

    def generate(context, builder, signature, args):
        return _field(builder, args[0], DATA, context.get_value_type(result))

    return result(array), generate


def check_layout() -> None:
    """Raise ImportError if arrays are not where this module expects them."""
    array = np.empty((2, 3), np.float32)

    def read(place: int, kind: Any) -> Any:
        return kind.from_address(id(array) + place).value

    found = [read(place, ctypes.c_void_p) for place in (TYPE, DATA, DTYPE)]
    expected = [id(np.ndarray), array.ctypes.data, id(array.dtype)]
    axes, flags = read(AXES, ctypes.c_int), read(FLAGS, ctypes.c_int) & WRITABLE
    known = found == expected and (axes, flags) == (2, WRITABLE)
    pairs = [(ctypes.c_ssize_t * 2).from_address(read(place, ctypes.c_void_p)) for place in (SHAPE, STRIDES) if known]
    if not known or [tuple(pair) for pair in pairs] != [array.shape, array.strides]:
        raise ImportError(f"arrays of NumPy {np.__version__} lie in memory in a way that is not known here")


check_layout()

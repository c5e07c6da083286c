"""Records: numbers that Python hands to kernels, in memory, which both sides know by name.

The fields of a NamedTuple say what stands where.  Python builds the tuple by keyword, so that none can be forgotten,
and makes one int64 array of it; a kernel reads a field where it needs it.  Some are addresses, of arrays and functions.
"""
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils, imputils
from numba.core.datamodel.models import PrimitiveModel
from numba.core.typing.templates import AttributeTemplate, infer_getattr

from .vectors import emit_at, intrinsic

_NUMBERS = types.CPointer(types.int64)


class Record(types.Type):
    """The Numba type of a pointer to the numbers of a NamedTuple."""

    def __init__(self, name: str, fields: tuple[str, ...]) -> None:
        self.fields = fields
        super().__init__(name=f"Record({name})")


@extending.register_model(Record)
class _RecordModel(PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Record) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64).as_pointer())


@infer_getattr
class _RecordFields(AttributeTemplate):
    key = Record

    def generic_resolve(self, record, field):  # type: ignore[override]
        return types.int64 if field in record.fields else None


@imputils.lower_getattr_generic(Record)
def _read(context, builder, record, value, field):
    return builder.load(emit_at(builder, value, record.fields.index(field)))


def record_of(fields: type[tuple[Any, ...]]) -> Any:
    """Return what makes, in kernels, a record with the fields of a NamedTuple of a pointer to its numbers."""
    kind = Record(fields.__name__, fields._fields)  # type: ignore[attr-defined]

    @intrinsic
    def record(tyctx, pointer):
        return kind(pointer), lambda context, builder, signature, args: args[0]

    return record


@intrinsic
def numbers_of(tyctx, record):
    """Return the pointer to a record's numbers, and to what follows them."""
    return _NUMBERS(record), lambda context, builder, signature, args: args[0]


@intrinsic
def pointer_to(tyctx, address, like):
    """Return a pointer of ``like``'s type to an address."""

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(like))

    return like(types.int64, like), generate


@intrinsic
def call_address(tyctx, address, arguments):
    """Call the function at an address, see ``jit.by_address``, with a tuple of pointers and int64 numbers."""

    def generate(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, arguments), generate

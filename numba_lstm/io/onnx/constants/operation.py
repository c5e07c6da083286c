"""One operation of a model by the letter of its opset: its attributes, and what its inputs may be.

ONNX's own schemas are asked, as the installed onnx package has them: which attributes an operator has in an opset and
what they are when they are left out, how many inputs it takes and of which types.  An operator of ONNX Runtime that it
does not have is put beside them here.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .tensors import Files, NotConstant, array, name_of, onnx

OWN = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""

QUANTIZED_LSTM = "com.microsoft.DynamicQuantizeLSTM"
"""What ONNX Runtime's ``quantize_dynamic`` makes of an LSTM."""

_FIELDS = {
    "FLOAT": "f", "INT": "i", "STRING": "s", "TENSOR": "t", "GRAPH": "g", "FLOATS": "floats", "INTS": "ints",
    "STRINGS": "strings",
}  # fmt: skip
"""Where the value of an attribute of a type lies."""

_NAMES = {"float32": "float", "float64": "double", "object": "int64"}
"""ONNX's names of dtypes, where they differ from NumPy's.  Arrays of objects are of sizes, see `sizes`."""


class Operation(NamedTuple):
    """What a node does, without the file that says so."""

    kind: str
    """The operator, with its domain before it if that is not ONNX's own."""
    opset: int
    """Of its domain."""
    version: int
    """Of the operator: the opset that brought it in this form."""
    attributes: Mapping[str, Any]
    """By name; what is left out has its default, if it has one."""
    outputs: int
    """How many are asked for."""


def read(node: Any, opset: int | None, files: Files) -> Operation:
    """Return what a node does, given the opset of its domain; raise NotConstant if it is not by the letter of that."""
    kind = node.op_type if node.domain in OWN else f"{node.domain}.{node.op_type}"
    schema = schema_of(kind, opset)
    form = f"{kind} of opset {opset}"
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        declared = schema.attributes.get(attribute.name)
        if declared is None:
            raise NotConstant(f"{form} has no attribute {attribute.name[:40]!r}")
        if attribute.name in attributes:
            raise NotConstant(f"{form} has its attribute {attribute.name!r} twice")
        attributes[attribute.name] = _value(attribute, declared.type.name, form, files)
    for name, declared in schema.attributes.items():
        if name in attributes:
            continue
        if declared.required:
            raise NotConstant(f"{form} has to have an attribute {name!r}")
        if declared.default_value.name:
            attributes[name] = _value(declared.default_value, declared.type.name, form, files)
    assert opset is not None
    return Operation(kind, opset, schema.since_version, attributes, len(node.output))


def schema_of(kind: str, opset: int | None) -> Any:
    """Return an operator as it is in an opset; raise NotConstant if there is none, or nobody can know."""
    if opset is None:
        which = "opset of com.microsoft" if kind == QUANTIZED_LSTM else "opset"
        raise NotConstant(f"the model does not say which {which} it is of")
    if kind == QUANTIZED_LSTM:
        if opset != _QUANTIZED_LSTM.since_version:
            raise NotConstant(f"{kind} of opset {opset} is not the one that is known here")
        return _QUANTIZED_LSTM
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise NotConstant(f"the model is of opset {opset}, and the installed onnx knows {newest}: install a newer onnx")
    schema = _schema(kind, opset)
    if schema is None:
        raise NotConstant(f"{kind[:40]} is no operator of opset {opset}")
    return schema


@functools.lru_cache(maxsize=1024)
def _schema(kind: str, opset: int) -> Any:
    try:
        schema = onnx.defs.get_schema(kind, opset, "")
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _quantized_lstm() -> Any:
    """Return ONNX Runtime's schema of the operator: an LSTM of opset 7 with weights of 8 bits, and their scales."""
    schema, lstm = onnx.defs.OpSchema, onnx.defs.get_schema("LSTM", 7, "")
    inputs = [
        schema.FormalParameter(each.name, "T2" if each.name in ("W", "R") else each.type_str, param_option=each.option)
        for each in lstm.inputs
    ]
    for name in ("W", "R"):
        inputs.append(schema.FormalParameter(f"{name}_scale", "T"))
        inputs.append(schema.FormalParameter(f"{name}_zero_point", "T2"))
    types = {"T": ["float"], "T1": ["int32"], "T2": ["int8", "uint8"]}
    domain, name = QUANTIZED_LSTM.rsplit(".", 1)
    return schema(
        name, domain, 1, inputs=inputs, outputs=list(lstm.outputs), attributes=list(lstm.attributes.values()),
        type_constraints=[(name, [f"tensor({each})" for each in allowed], "") for name, allowed in types.items()],
    )  # fmt: skip


_QUANTIZED_LSTM = _quantized_lstm()


def _value(attribute: Any, kind: str, form: str, files: Files) -> Any:
    """Return an attribute as plain numbers, bytes or arrays; a graph as it is."""
    # Files of the first version of the format leave the type out.
    if attribute.type not in (0, onnx.AttributeProto.AttributeType.Value(kind)) or attribute.ref_attr_name:
        raise NotConstant(f"{form} should have an attribute {attribute.name!r} that is {kind.lower()}")
    if kind not in _FIELDS:
        raise NotConstant(f"{form} has an attribute {attribute.name!r} that is {kind.lower()}")
    value = getattr(attribute, _FIELDS[kind])
    if kind == "TENSOR":
        return array(value, files)
    return list(value) if kind.endswith("S") else value


def check_outputs(operation: Operation, outputs: Sequence[np.ndarray]) -> None:
    """Raise NotConstant unless an operation gives outputs of these types."""
    formal = schema_of(operation.kind, operation.opset).outputs
    for place, made in enumerate(outputs):
        kind = _named(made)
        if kind not in formal[min(place, len(formal) - 1)].types:
            raise NotConstant(f"{operation.kind} of opset {operation.opset} does not make {kind}")


def _named(array: np.ndarray) -> str:
    name = name_of(array.dtype)
    return f"tensor({_NAMES.get(name, name)})"


def check_inputs(operation: Operation, inputs: Sequence[np.ndarray | None]) -> None:
    """Raise NotConstant unless an operation takes so many inputs, of these types."""
    schema = schema_of(operation.kind, operation.opset)
    form = f"{operation.kind} of opset {operation.opset}"
    if not schema.min_input <= len(inputs) <= schema.max_input:
        raise NotConstant(f"{form} does not take {len(inputs)} inputs")
    if not schema.min_output <= operation.outputs <= schema.max_output:
        raise NotConstant(f"{form} does not have {operation.outputs} outputs")
    same: dict[str, str] = {}
    for place, given in enumerate(inputs):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        if given is None:
            if formal.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
                raise NotConstant(f"{form} lacks its input {formal.name!r}")
            continue
        kind = _named(given)
        if kind not in formal.types:
            raise NotConstant(f"{form} does not take {kind} for its input {formal.name!r}")
        if formal.is_homogeneous and same.setdefault(formal.type_str, kind) != kind:
            raise NotConstant(f"{form} does not take {same[formal.type_str]} and {kind} together")

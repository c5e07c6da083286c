"""Weights of 8 bits as quantisers leave them in a file: whole numbers, scales and zero points.

They are the same two things for an operator that takes them as they are and for one that takes what DequantizeLinear
makes of them: whole numbers with the zero point taken off, and a scale for each row.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contract.weight_form import LARGEST_SCALE, MOST_TERMS, SCALE, SMALLEST_SCALE, check_row_length, quantized
from ...simd.weights.dot_products import LARGEST
from .attributes import Refusal
from .constants.conversions import scaled
from .constants.graph import Graph
from .constants.tensors import INT4, UINT4, NotConstant
from .constants.values import Values

_FARTHEST = 256
"""Tensors between weights and where they are dequantised: gates are cut out, put in order and joined."""

_COST = 8
"""Bytes that are made to see where a number of 8 bits goes."""


class Quantized(NamedTuple):
    """A stack of weight matrices as whole numbers that are to be multiplied."""

    whole: np.ndarray
    """(D, 4 * H, K) int16, -255 to 255: zero points are taken off."""
    scale: np.ndarray
    """(D, 4 * H) float32."""

    @property
    def fits_int8(self) -> bool:
        """Whether rows are so short that sums of products stay within 32 bits."""
        return int(self.whole.shape[-1]) <= MOST_TERMS

    def numbers(self) -> np.ndarray:
        """Return the float32 numbers that they stand for, by the letter of ONNX."""
        with np.errstate(all="ignore"):  # as where the model dequantises them itself
            numbers: np.ndarray = self.whole.astype(np.float32) * self.scale[..., None]
        return numbers

    def rows(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what int8 keeps of them, (D, 4 * H, K) and (D, 4 * H).

        A row whose whole numbers and scale int8 has is kept as it is, and the others, from zero points beside the
        middle and of -128, are quantised anew.

        Raises
        ------
        Refusal
            If a row stands for what is not finite, or is too long.
        """
        try:
            check_row_length(role, self.whole.shape[-1])
        except ValueError as error:
            raise Refusal(f"its {error}, or weights='float32', which takes any") from None
        largest = np.abs(self.whole).max(axis=2)
        fit = (largest <= LARGEST) & (self.scale >= SMALLEST_SCALE) & (self.scale <= LARGEST_SCALE)
        whole, scale = self.whole.astype(np.int8), self.scale.copy()
        anew = ~fit
        if anew.any():
            whole[anew], scale[anew] = small(role, Quantized(self.whole[anew], self.scale[anew]).numbers(), "int8")
        return whole, scale


def small(role: str, numbers: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what a form keeps of an input of a node, (..., K) float32, and the scales (...) if it has some.

    Raises
    ------
    Refusal
        If the form has nothing for a number.
    """
    name = f"weight_{role}"
    try:
        kept = quantized({name: numbers.reshape(-1, numbers.shape[-1])}, form)
    except ValueError as error:
        words = str(error).removeprefix("weight_")
        raise Refusal(f"its {words}, or weights='float32', which takes any") from None
    scale = kept.get(name + SCALE)
    return kept[name].reshape(numbers.shape), None if scale is None else scale.reshape(numbers.shape[:-1])


def of_operator(role: str, weights: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> Quantized:
    """Return an input of a DynamicQuantizeLSTM; raise Refusal if it is none.

    Parameters
    ----------
    role : {"W", "R"}
    weights : (D, K, 4 * H) array of int8 or uint8
    scale, zero : (D,) or (D, 4 * H) array of float32, and of the dtype of the weights
        Of each direction, or of each of its rows.
    """
    if scale.shape != zero.shape:
        raise Refusal(f"its {role}_scale has shape {scale.shape}, and its {role}_zero_point {zero.shape}")
    wrong = ~(np.isfinite(scale) & (scale >= 0))
    if wrong.any():
        raise Refusal(f"its {role}_scale has {scale[wrong][0]:g}, and scales are finite numbers from 0 on")
    # By the letter of the operator a zero point could be another one in each row; ONNX Runtime does not take that.
    if zero.ndim == 2 and (zero != (0 if zero.dtype == np.int8 else zero.flat[0])).any():
        usual = "0" if zero.dtype == np.int8 else "the same"
        raise Refusal(f"its {role}_zero_point is not {usual} for all rows, each of which has a scale")
    directions, _, rows = weights.shape
    zeros = zero.reshape(directions, -1, 1).astype(np.int16)
    whole = weights.transpose(0, 2, 1).astype(np.int16, order="C") - zeros
    return Quantized(whole, np.broadcast_to(scale.reshape(directions, -1), (directions, rows)))


def behind(values: Values, tensor: str, numbers: np.ndarray) -> Quantized | None:
    """Return what DequantizeLinear has made the weights of, with a scale for each row; None if it has not.

    What lies between may only move numbers.  Where each of them comes from is seen by moving places instead, and the
    products have to be the weights, bit for bit.

    Parameters
    ----------
    values : Values
        Of the graph of the node.
    tensor : str
        An input of the node.
    numbers : (D, 4 * H, K) float32 array
        That input.
    """
    home = values.graph.home(tensor)
    if home is None or numbers.dtype != np.float32:
        return None
    sources, between = _sources(home, tensor)
    if not sources:
        return None
    given, wholes, scales, count = {}, [], [], 0
    try:
        home.model.search.take(_COST * numbers.size)
        for name, node in sources.items():
            whole, scale = _dequantized(home, node)
            if count + whole.size > np.iinfo(np.int32).max:
                return None
            given[name] = np.arange(count, count + whole.size, dtype=np.int32).reshape(whole.shape)
            wholes.append(whole.ravel())
            scales.append(np.broadcast_to(scale, whole.shape).ravel())
            count += whole.size
        places = Values(home, given, between).value(tensor)
    except ValueError:  # NotConstant is one: where it cannot be told, it is not
        return None
    if not isinstance(places, np.ndarray) or places.dtype != np.int32 or places.shape != numbers.shape:
        return None
    if places.min() < 0 or places.max() >= count:
        return None
    whole, scale = np.concatenate(wholes)[places], np.concatenate(scales)[places]
    bits = scale.view(np.uint32)  # in which one nan is like another
    if not (bits == bits[..., :1]).all():
        return None
    found = Quantized(whole, scale[..., 0])
    return found if np.array_equal(found.numbers(), numbers, equal_nan=True) else None


def _sources(graph: Graph, tensor: str) -> tuple[dict[str, Any], set[str]]:
    """Return the nodes that dequantise what a tensor is made of, by what they make, and the tensors between."""
    found: dict[str, Any] = {}
    between: set[str] = set()
    pending = [tensor]
    while pending:
        name = pending.pop()
        node = graph.producers.get(name)
        if node is None or name in found or name in between:
            continue
        if len(found) + len(between) == _FARTHEST or len(node.input) > _FARTHEST:
            return {}, set()
        if graph.model.kind(node) == "DequantizeLinear":
            found[name] = node
        else:
            between.add(name)
            pending += node.input
    return found, between


def _dequantized(graph: Graph, node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole numbers and scales of a DequantizeLinear; raise NotConstant if they have more than 8 bits."""
    values = [Values.of(graph).value(name) for name in node.input if name]
    arrays = [value for value in values if isinstance(value, np.ndarray)]
    if len(arrays) < len(values) or arrays[0].dtype not in (np.int8, np.uint8, INT4, UINT4):
        raise NotConstant("its numbers are not of 8 bits")
    graph.model.search.take(_COST * arrays[0].size)
    whole, scale = scaled(graph.model.operation(node), *arrays)
    return whole.astype(np.int16), scale

"""An LSTM over an array in chunks: along the batch these are computed side by side, along time one after the other."""

from __future__ import annotations

from operator import getitem
from typing import Any

import numpy as np

from ...contract.checks.arrays import given_array
from ...contract.checks.calls import checked_lstm_call
from ...lstm import LSTM
from .carried import CarriedLSTM, class_name
from .graphs import HighLevelGraph, Layer, Task, TaskRef, base, da, shared
from .plugin import LSTMPlugin, carried_by

States = tuple[Any, Any]


def map_batches(lstm: LSTM | LSTMPlugin, x: Any, hx: States | None = None) -> tuple[Any, States]:
    """Run the sequences of a ``dask.array`` through an LSTM, later: what ``lstm(x, hx)`` gives, with the same bits.

    Chunks along N are computed independently of each other.  Chunks along L are computed one after the other, and the
    state is carried on between them, so that a recording need not be in memory as a whole.

    Parameters
    ----------
    lstm : LSTM
        As it is now: what is assigned to it afterwards changes nothing.  In eval mode, if it has dropout.  Or an
        `LSTMPlugin` of one, which the client has registered: its weights need not travel again then.
    x : (L, N, H_in) dask.array, (N, L, H_in) if the LSTM is ``batch_first``, or (L, H_in)
        In chunks of any known sizes; along H_in they are put together.
    hx : (h_0, c_0), optional
        Arrays (D * num_layers, N, H_out) and (D * num_layers, N, H_cell) of NumPy or Dask, without N for a single
        sequence.  Zeros by default.

    Returns
    -------
    output : dask.array (L, N, D * H_out), (N, L, D * H_out) if ``batch_first``, or (L, D * H_out)
        Along L and N in the chunks of x, but for empty ones along L.
    (h_n, c_n) : dask.arrays of the shapes of h_0 and c_0
        Along N in the chunks of x.

    Raises
    ------
    ValueError, RuntimeError, TypeError
        At once, in torch's words, if sizes or dtypes do not fit.
    ValueError
        If a chunk's size is unknown, or the LSTM is bidirectional and x has more than one chunk along L: the reverse
        direction begins at the end.
    RuntimeError
        If the LSTM is in train mode and has dropout, whose masks would depend on the chunks.
    TypeError
        If x is no dask.array, or lstm no `LSTM`.

    Notes
    -----
    The weights are in the graph once, and every task refers to them.

    Examples
    --------
    >>> import dask.array as da
    >>> from numba_lstm import LSTM
    >>> from numba_lstm.io.dask import map_batches
    >>> lstm = LSTM(3, 5, batch_first=True, seed=0).eval()
    >>> x = da.random.random((1000, 40, 3), chunks=(250, 20, 3)).astype("float32")
    >>> output, (h_n, c_n) = map_batches(lstm, x)
    >>> output.shape, output.chunksize, h_n.shape
    ((1000, 40, 5), (250, 20, 5), (1, 1000, 5))
    >>> whole, _ = lstm(x.compute(scheduler="threads"))
    >>> bool((output.compute(scheduler="threads") == whole).all())
    True
    """
    carried, states = carried_by(lstm), hx
    checked = carried.lstm
    if isinstance(hx, (tuple, list)):
        states = tuple(_stand_in(f"hx[{index}]", state, checked.dtype) for index, state in enumerate(hx))
    if not isinstance(x, da.Array):
        raise TypeError(
            f"x should be a dask.array, got: {class_name(x)}; dask.array.from_array(x, chunks) makes one of an array"
        )
    if hasattr(x, "expr"):
        raise TypeError(
            "x is an array of expressions, which Dask tries out: set its option array.query-planning to False before "
            "dask.array is imported"
        )
    given = _stand_in("input", x, checked.dtype)
    _, arrays, batched = checked_lstm_call(checked._architecture, checked.dtype, checked.batch_first, given, states)
    if not batched:
        row = 0 if checked.batch_first else 1
        single = None if hx is None else tuple(state[:, None] for state in hx)
        output, last = map_batches(lstm, da.expand_dims(x, row), single)
        return output[(slice(None),) * row + (0,)], (last[0][:, 0], last[1][:, 0])
    steps, rows = (1, 0) if checked.batch_first else (0, 1)
    filled = tuple(size for size in x.chunks[steps] if size)
    if checked.bidirectional and len(filled) > 1:
        raise ValueError(
            f"a bidirectional LSTM reads each sequence from its end as well, and x has {len(filled)} chunks along its "
            f"steps: give x.rechunk({{{steps}: -1}})"
        )
    x = x.rechunk({steps: filled, 2: -1})
    if hx is not None and arrays is not None:
        hx = tuple(_in_chunks(own, array, x.chunks[rows]) for own, array in zip(hx, arrays, strict=True))
    return _lazily(carried, x, hx, steps, rows)


def _stand_in(name: str, value: Any, dtype: np.dtype[Any]) -> Any:
    """Return an array of the shape and dtype of a dask.array that takes no memory; anything else as it is."""
    if not isinstance(value, da.Array):
        return value
    if any(np.isnan(size) for size in value.shape):
        raise ValueError(
            f"{name} has chunks of unknown sizes, {value.chunks}: call compute_chunk_sizes() of the dask.array before"
        )
    meta = value._meta
    if type(meta) is not np.ndarray:
        given_array(name, meta, dtype)  # raises its error of masked arrays
        raise TypeError(f"the chunks of {name} should be NumPy arrays, got: {class_name(meta)}")
    return np.broadcast_to(np.zeros(value.shape[-1:], value.dtype), value.shape)


def _in_chunks(own: Any, array: np.ndarray, rows: tuple[int, ...]) -> Any:
    """Return an initial state as a dask.array with chunks along N; one of NumPy is copied."""
    chunks = ((array.shape[0],), rows, (array.shape[2],))
    return own.rechunk(chunks) if isinstance(own, da.Array) else da.from_array(np.array(array), chunks=chunks)


def _call(carried: CarriedLSTM, x: np.ndarray, *hx: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do what a task does: a call on one chunk."""
    output, (h_n, c_n) = carried.ready()(x, hx or None)  # type: ignore[arg-type]
    return output, h_n, c_n


def _lazily(
    carried: CarriedLSTM, x: Any, hx: States | None, steps: int, rows: int
) -> tuple[Any, States]:
    """Return the arrays of a call on x of 3 axes, of which ``steps`` is L and ``rows`` is N."""
    token = base.tokenize(carried, x, hx)
    calls, carry, names = f"lstm-{token}", f"lstm-state-{token}", [f"lstm-{part}-{token}" for part in ("y", "h", "c")]
    weights = shared(carried, "lstm-weights")
    last = x.numblocks[steps] - 1
    tasks: Layer = {}
    parts: list[Layer] = [{}, {}, {}]

    def part(layer: Layer, key: tuple[Any, ...], call: tuple[Any, ...], index: int) -> None:
        layer[key] = Task(key, getitem, TaskRef(call), index)

    for row in range(x.numblocks[rows]):
        state = [TaskRef((array.name, 0, row, 0)) for array in hx or ()]
        for step in range(last + 1):
            block = (row, step, 0) if rows < steps else (step, row, 0)
            call = (calls, row, step)
            tasks[call] = Task(call, _call, TaskRef(weights.key), TaskRef((x.name, *block)), *state)
            part(parts[0], (names[0], *block), call, 0)
            if step < last:
                # Apart from the output, which need not go where the state goes.
                state = [TaskRef((carry, index, row, step)) for index in (1, 2)]
                for index in (1, 2):
                    part(tasks, (carry, index, row, step), call, index)
        for index in (1, 2):
            part(parts[index], (names[index], 0, row, 0), (calls, row, last), index)
    graph = HighLevelGraph.from_collections(calls, tasks, dependencies=[x, *(hx or ()), weights])
    a = carried.lstm._architecture
    cells = (a.num_layers * a.num_directions,)
    along = {rows: x.chunks[rows], steps: x.chunks[steps], 2: (a.output_size * a.num_directions,)}
    chunks = [
        tuple(along[axis] for axis in range(3)),
        (cells, x.chunks[rows], (a.output_size,)),
        (cells, x.chunks[rows], (a.hidden_size,)),
    ]
    meta = np.empty((0, 0, 0), carried.lstm.dtype)
    output, h_n, c_n = (
        da.Array(
            HighLevelGraph({**graph.layers, name: layer}, {**graph.dependencies, name: {calls}}), name, sizes, meta=meta
        )
        for name, layer, sizes in zip(names, parts, chunks, strict=True)
    )
    return output, (h_n, c_n)

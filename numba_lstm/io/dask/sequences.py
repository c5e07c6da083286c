"""A function of lists of sequences, over many sequences of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import numpy as np

from ...lstm import LSTM
from ...lstm_cell import LSTMCell
from .carried import CarriedLSTM, class_name, is_torch_lstm
from .graphs import HighLevelGraph, Task, TaskRef, base, db, delayed, shared
from .partitions import Place, checked_sequence, equal_parts, results_of
from .plugin import LSTMPlugin, carried_by

BATCH_STEPS = 1 << 15
"""Steps in a batch.  With proteins there are about a hundred rows, enough for the kernels."""

PARTITIONS, PARTITION_BATCHES = 100, 8
"""Parts of a list, of which each is a task: one for each batch as long as there are no more than the first, which keep
some tens of workers busy until the end; otherwise of up to so many batches as the second, which take a few seconds."""

Function = Callable[[list[Any]], Iterable[Any]]


def map_sequences(
    function: Function | LSTM | LSTMPlugin,
    sequences: Any,
    *,
    batch_steps: int = BATCH_STEPS,
    npartitions: int | None = None,
) -> Any:
    """Call a function with all sequences, later, in batches of some that are of about the same length.

    Parameters
    ----------
    function : callable, or LSTM
        Called with a list of sequences, returns a list of as many results in their order, or an array or an iterator of
        them.  What it returns for a sequence should not depend on the others.  It may be called again with one of them,
        to find the one at which it has raised an error.  Of an `LSTM`, or an `LSTMPlugin` that the client has
        registered, results are outputs (L, D * H_out) of arrays (L, H_in), with the bits of a call for each alone.
    sequences : dask.bag, or list
        A bag of sequences, each with a length.  Or a list of them, which may have delayed ones.
    batch_steps : int
        About how many steps there are in a batch, summed over its sequences: the lengths in a partition are divided
        into batches of about equal sums.
    npartitions : int, optional
        Into how many parts a list is divided, each a task, of about equal sums of lengths; or, with delayed sequences,
        whose lengths are not known, of equal numbers.  By default a part is a batch, or up to 8 in a list of more than
        100 batches; delayed ones are in up to 100 parts.  A bag keeps its partitions.

    Returns
    -------
    dask.bag
        Results in the order of the sequences; of a bag in the same partitions.

    Raises
    ------
    TypeError, ValueError
        At once, if an argument is invalid.
    TypeError, ValueError, RuntimeError
        At once, in torch's words and with its place, for a sequence of a list that the LSTM cannot take.
    SequenceError
        When it is computed: for a sequence that the LSTM cannot take, or at which the function raises an error.
    TypeError, ValueError
        When it is computed, if the function returns no list, or more or fewer results than it was given sequences.

    Notes
    -----
    The function is in the graph once, with the weights that it holds, and every task refers to it.  The sequences of a
    list are in the graph too: those that do not fit into memory should be read by the workers, in a bag or as delayed
    ones.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_lstm import LSTM
    >>> from numba_lstm.io.dask import map_sequences
    >>> lstm = LSTM(3, 5, seed=0).eval()
    >>> sequences = [np.ones((length, 3), np.float32) for length in (7, 300, 20)]
    >>> results = map_sequences(lstm, sequences)
    >>> [output.shape for output in results.compute(scheduler="threads")]
    [(7, 5), (300, 5), (20, 5)]
    """
    if isinstance(function, (LSTM, LSTMCell, LSTMPlugin)) or is_torch_lstm(function):
        called: Any = carried_by(function)
    elif callable(function):
        called = function
    else:
        raise TypeError(f"function should be an LSTM or a callable, got: {class_name(function)}")
    _check_positive("batch_steps", batch_steps)
    given: Any = sequences
    if isinstance(sequences, db.Bag):
        if npartitions is not None:
            raise ValueError("npartitions is for lists: a bag has its own, which repartition changes")
        parts = [TaskRef(key) for key in sequences.__dask_keys__()]
        places = [Place(0, number) for number in range(len(parts))]
        dependencies = [sequences]
    else:
        if npartitions is not None:
            _check_positive("npartitions", npartitions)
        given = items = _listed(sequences)
        slices = _divided(called, items, batch_steps, npartitions)
        parts, dependencies = [], []
        for own in slices:
            part: Any = items[own]
            if any(map(base.is_dask_collection, part)):
                later = delayed.delayed(part)
                dependencies.append(later)
                part = TaskRef(later.key)
            parts.append(part)
        places = [Place(own.start) for own in slices]
    token = base.tokenize(called, given, batch_steps, npartitions)
    name, once = f"map-sequences-{token}", shared(called, "sequence-function")
    layer = {
        (name, number): Task((name, number), results_of, TaskRef(once.key), part, place, batch_steps)
        for number, (part, place) in enumerate(zip(parts, places, strict=True))
    }
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[once, *dependencies])
    return db.Bag(graph, name, len(layer))


def _check_positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} should be of type int, got: {class_name(value)}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _listed(sequences: Any) -> list[Any]:
    """Return a list of sequences, or raise TypeError for what is more likely one of them, or has no order."""
    # Of a mapping or a set, an order or the keys would be taken for what is meant.
    single = isinstance(sequences, (str, bytes, np.ndarray, Mapping, Set)) or base.is_dask_collection(sequences)
    if single or not isinstance(sequences, Iterable):
        raise TypeError(f"sequences should be a dask.bag or a list of sequences, got: {class_name(sequences)}")
    return list(sequences)


def _divided(called: Any, items: list[Any], batch_steps: int, npartitions: int | None) -> list[slice]:
    """Return the parts of a list that are a task each, after a look at what is there of it."""
    costs = []
    for index, item in enumerate(items):
        try:
            costs.append(_steps(called, item))
        except (TypeError, ValueError, RuntimeError) as error:
            raise type(error)(f"sequence {index}: {error}") from error
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(items):
        known, batches = [1] * len(items), min(PARTITIONS, len(items))
    else:
        batches = -(-sum(known) // batch_steps)
    number = npartitions or max(min(batches, PARTITIONS), -(-batches // PARTITION_BATCHES))
    return equal_parts(known, min(number, len(items))) or [slice(0, 0)]


def _steps(called: Any, sequence: Any) -> int | None:
    """Return the length of a sequence, or raise an error if an LSTM cannot take it; None if it is delayed."""
    if base.is_dask_collection(sequence):
        return None
    return len(checked_sequence(called.lstm, sequence) if isinstance(called, CarriedLSTM) else sequence)

"""What a task does with the sequences of a partition: batches of about equal cost, and the name of what goes wrong."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ...contract.checks.calls import checked_lstm_call
from ...contract.packed_sequence import pack_sequence, unpack_sequence
from ...lstm import LSTM
from .carried import CarriedLSTM, class_name


class SequenceError(RuntimeError):
    """One sequence, of many, at which a function has raised an error; the message has that error and the place.

    Attributes
    ----------
    index : int
        Its place in the list, or in the partition of a bag, from 0.
    partition : int or None
        The partition of the bag.
    """

    def __init__(self, message: str, index: int, partition: int | None = None) -> None:
        super().__init__(message, index, partition)  # all of them, as pickle needs them
        self.index, self.partition = index, partition

    def __str__(self) -> str:
        return str(self.args[0])


class Place(NamedTuple):
    """Where the first sequence of a partition is: in a list, or in a partition of a bag, of which it is the first."""

    first: int
    partition: int | None = None

    def error(self, index: int, error: Exception, note: str = "") -> SequenceError:
        """Return what says that a sequence, by its place in the partition, has led to an error."""
        index += self.first
        of = "" if self.partition is None else f" of partition {self.partition}"
        return SequenceError(f"sequence {index}{of}{note}: {type(error).__name__}: {error}", index, self.partition)


def results_of(called: Any, sequences: Iterable[Any], place: Place, batch_steps: int) -> list[Any]:
    """Return what a function gives for the sequences of a partition, in their order.

    Parameters
    ----------
    called : callable or CarriedLSTM
        Takes a list of sequences, the longest first.
    sequences : iterable
        Those of the partition.
    place : Place
        Where they are, for messages.
    batch_steps : int
        About how many steps a batch has.
    """
    items, lengths = list(sequences), []
    function, lstm = called, None
    if isinstance(called, CarriedLSTM):
        lstm = called.ready()
        function = functools.partial(_outputs, lstm)
    for index, item in enumerate(items):
        try:
            lengths.append(len(item if lstm is None else checked_sequence(lstm, item)))
        except Exception as error:
            raise place.error(index, error) from error
    order = sorted(range(len(items)), key=lambda index: -lengths[index])
    results: list[Any] = [None] * len(items)
    for own in equal_parts([lengths[index] for index in order], -(-sum(lengths) // batch_steps)):
        batch = order[own]
        for index, result in zip(batch, _batch_results(function, items, batch, place), strict=True):
            results[index] = result
    return results


def _batch_results(
    function: Callable[[list[Any]], Iterable[Any]], items: list[Any], batch: list[int], place: Place
) -> list[Any]:
    """Return what a function gives for some of the sequences; raise `SequenceError` for the first that it fails at."""

    def called(indices: list[int]) -> Any:
        found: Any = function([items[index] for index in indices])
        # Not of a tuple, which is what networks return that have several results for a whole batch.
        return list(found) if isinstance(found, Iterator) or (isinstance(found, np.ndarray) and found.ndim) else found

    try:
        results: list[Any] = called(batch)
    except Exception as error:
        if len(batch) > 1:
            for index in batch:
                try:
                    called([index])
                except Exception as alone:
                    raise place.error(index, alone) from alone
        note = f" with {len(batch) - 1} others, and not alone" if len(batch) > 1 else ""
        raise place.error(batch[0], error, note) from error
    if not isinstance(results, list):
        raise TypeError(f"function should return a list of results, got: {class_name(results)}")
    if len(results) != len(batch):
        raise ValueError(f"function should return a result for each of {len(batch)} sequences, got {len(results)}")
    return results


def checked_sequence(lstm: LSTM, sequence: Any) -> np.ndarray:
    """Return a sequence (L, H_in) that an LSTM can take, or raise torch's error."""
    x, _, batched = checked_lstm_call(lstm._architecture, lstm.dtype, False, sequence, None)
    if batched:
        raise ValueError(f"a sequence should have shape (L, {lstm.input_size}), got: {x.shape}")
    return x[:, 0]


def _outputs(lstm: LSTM, batch: list[Any]) -> list[np.ndarray]:
    """Return the outputs of sequences, the longest first."""
    output, _ = lstm(pack_sequence([np.asarray(sequence, lstm.dtype) for sequence in batch]))
    return unpack_sequence(output)


def equal_parts(costs: list[int], number: int) -> list[slice]:
    """Divide a row of things into at most so many parts, one after the other, of about equal costs and none empty.

    Examples
    --------
    >>> equal_parts([1, 1, 1, 1, 4, 4], 3)
    [slice(0, 4, None), slice(4, 5, None), slice(5, 6, None)]
    """
    middles = np.cumsum(costs, dtype=np.float64) - 0.5 * np.asarray(costs, np.float64)
    shares = np.arange(1, number) * (sum(costs) / max(1, number))
    cuts = np.unique([0, *np.searchsorted(middles, shares), len(costs)]).tolist()
    return [slice(start, end) for start, end in itertools.pairwise(cuts)]

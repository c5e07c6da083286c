"""Dask: an LSTM over arrays in chunks and over many sequences, on threads, on processes, on a cluster.

Results have the bits of a call, however arrays are divided and whoever computes them.  Weights go once to a worker,
and are packed once in a process.
"""

from __future__ import annotations

from ... import public
from .batches import map_batches
from .partitions import SequenceError
from .plugin import LSTMPlugin
from .sequences import map_sequences

__all__ = ["LSTMPlugin", "SequenceError", "map_batches", "map_sequences"]

public.publish(globals())

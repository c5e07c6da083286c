"""What is taken from Dask, and how graphs have once what all their tasks need."""

from __future__ import annotations

from typing import Any

from .._extras import need


def _dask(module: str) -> Any:
    return need(module, extra="dask", purpose="numba_lstm.io.dask")


base, da, db, delayed = (_dask(f"dask.{name}") for name in ("base", "array", "bag", "delayed"))
HighLevelGraph = _dask("dask.highlevelgraph").HighLevelGraph
distributed = _dask("distributed")

# The page on graphs in Dask's documentation is about these two, and they are nowhere else.
_spec = _dask("dask._task_spec")
Task, TaskRef = _spec.Task, _spec.TaskRef

Layer = dict[Any, Any]


def shared(value: Any, kind: str) -> Any:
    """Return something as a result of the graph, which is there once, however many tasks refer to its ``key``."""
    return delayed.delayed(value, name=f"{kind}-{base.tokenize(value)}", traverse=False)

"""The counters of a batcher, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

HELP = {
    "opened": "Sessions that have been opened.",
    "refused": "Sessions that found no place.",
    "steps": "Chunks that have been taken through the network.",
    "cancelled": "Chunks whose client was lost before the answer.",
    "failed": "Chunks that could not be computed.",
    "waiting_seconds": "From a chunk's arrival to its batch, summed up over chunks.",
    "computing_seconds": "Spent on batches.",
}


def text(counters: Mapping[str, Any], closed: Mapping[int, int]) -> str:
    """Return the page.

    Parameters
    ----------
    counters : mapping
        As `numba_lstm.serving.Batcher.counters` returns them; some may be missing.
    closed : mapping
        How often the server has closed a connection, by the code.

    Examples
    --------
    >>> print(text({"sessions": 2, "batches": 3, "steps": 5, "batch_sizes": {1: 1, 2: 2}}, {1013: 4}), end="")
    # HELP voice_sessions Sessions that are open.
    # TYPE voice_sessions gauge
    voice_sessions 2
    # HELP voice_steps_total Chunks that have been taken through the network.
    # TYPE voice_steps_total counter
    voice_steps_total 5
    # HELP voice_closed_total Connections that the server has closed, by the code.
    # TYPE voice_closed_total counter
    voice_closed_total{code="1013"} 4
    # HELP voice_batch_size Chunks that were computed together.
    # TYPE voice_batch_size histogram
    voice_batch_size_bucket{le="1"} 1
    voice_batch_size_bucket{le="2"} 3
    voice_batch_size_bucket{le="+Inf"} 3
    voice_batch_size_sum 5
    voice_batch_size_count 3
    """
    return "".join(f"{line}\n" for line in _lines(counters, closed))


def _lines(counters: Mapping[str, Any], closed: Mapping[int, int]) -> Iterator[str]:
    yield from _head("voice_sessions", "gauge", "Sessions that are open.")
    yield f"voice_sessions {counters['sessions']}"
    for name, meaning in HELP.items():
        if name in counters:
            yield from _head(f"voice_{name}_total", "counter", meaning)
            yield f"voice_{name}_total {counters[name]}"
    yield from _head("voice_closed_total", "counter", "Connections that the server has closed, by the code.")
    for code, count in sorted(closed.items()):
        yield f'voice_closed_total{{code="{code}"}} {count}'
    sizes = counters.get("batch_sizes", {})
    if sizes:
        yield from _head("voice_batch_size", "histogram", "Chunks that were computed together.")
        for limit, count in zip(sizes, accumulate(sizes.values()), strict=True):
            yield f'voice_batch_size_bucket{{le="{limit}"}} {count}'
        yield f'voice_batch_size_bucket{{le="+Inf"}} {counters["batches"]}'
        yield f"voice_batch_size_sum {counters['steps']}"
        yield f"voice_batch_size_count {counters['batches']}"


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"

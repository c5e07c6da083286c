"""Streams, pools of them, sliding windows, and sessions of a batcher; one thread."""

from __future__ import annotations

from typing import ClassVar

import numba_lstm

from .. import serving, streams, timing


class Step:
    """One step of one sequence."""

    params: ClassVar = list(streams.STEPS)
    param_names = ("layers",)

    def setup(self, layers: str) -> None:
        """Make streams."""
        numba_lstm.set_num_threads(1)
        self.fresh = streams.stepper(streams.STEPS[layers])
        self.reuse = streams.stepper(streams.STEPS[layers], reuse=True)

    def time_step(self, layers: str) -> None:
        """Time a step into a fresh array."""
        self.fresh()

    def time_step_out(self, layers: str) -> None:
        """Time a step into an array that is there."""
        self.reuse()


class Chunk:
    """Several steps of one sequence at once."""

    def setup(self) -> None:
        """Make a stream."""
        numba_lstm.set_num_threads(1)
        self.step = streams.stepper(streams.CHUNK)

    def time_chunk(self) -> None:
        """Time a chunk."""
        self.step()


class Pool:
    """One step of thousands of sequences."""

    params: ClassVar = ["all rows", "half of the rows"]
    param_names = ("rows",)

    def setup(self, rows: str) -> None:
        """Make a pool."""
        numba_lstm.set_num_threads(1)
        self.share = 1.0 if rows == "all rows" else 0.5
        self.step = streams.stepper(streams.POOL, reuse=True) if rows == "all rows" else streams.half_pool()

    def time_step(self, rows: str) -> None:
        """Time a step."""
        self.step()

    def track_rate(self, rows: str) -> float:
        """Return the rate of the matrix products."""
        return self.share * streams.POOL.flop() / timing.seconds_per_call(self.step).median / 1e9

    track_rate.unit = "GFLOP/s"  # type: ignore[attr-defined]


class Window:
    """A sliding window that gets its next input."""

    def setup(self) -> None:
        """Fill a window."""
        numba_lstm.set_num_threads(1)
        self.windows, self.x = streams.window()

    def time_push_and_advance(self) -> None:
        """Time all the work of an input."""
        self.windows.push(self.x)
        self.windows.advance()

    def track_push(self) -> float:
        """Return how long the output takes, when all other work was done before."""
        return streams.window_seconds(pushes=1000).push * 1e6

    track_push.unit = "us"  # type: ignore[attr-defined]


class Sessions:
    """A step of each of 64 sessions of a batcher, which wait for it in tasks of asyncio."""

    params: ClassVar = list(serving.NETWORKS)
    param_names = ("layers",)

    def track_own(self, layers: str) -> float:
        """Return what it takes for a session beyond the step of a stream."""
        numba_lstm.set_num_threads(1)
        shape = serving.NETWORKS[layers]
        *_, own = serving.seconds(shape, 64, rounds=100)
        return own / 64 * 1e6

    track_own.unit = "us"  # type: ignore[attr-defined]

"""A small network that is served, and a gate that lets its batches through one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from numba_lstm import LSTM
from numba_lstm.serving import Batcher

HANG = 60
"""Seconds after which a test is stuck."""

X = np.random.default_rng(0).standard_normal((8, 60, 3), np.float32)
"""Inputs (N, L, H_in) of `NETWORK`."""

NETWORK = LSTM(3, 5, num_layers=2, seed=0).eval()


def called(n: int, steps: int | None = None, lstm: LSTM = NETWORK) -> np.ndarray:
    """Return the output of a call for the first steps of one sequence."""
    output: np.ndarray = lstm(X[n, :steps])[0]
    return output


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine; a hang is an error."""
    return asyncio.run(asyncio.wait_for(main(), HANG))


class Gate:
    """What batches go through one by one, when they are let: a ``before`` that changes nothing."""

    def __init__(self) -> None:
        self.arrived, self._let = threading.Semaphore(0), threading.Semaphore(1)  # one for what the batcher prepares
        self.sizes: list[int] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.sizes.append(len(x))
        self.arrived.release()
        assert self._let.acquire(timeout=HANG)
        return x

    async def wait(self) -> None:
        """Wait until the next batch has come to the gate."""
        arrived = await asyncio.get_running_loop().run_in_executor(None, self.arrived.acquire, True, HANG)
        assert arrived

    def open(self, batches: int = 1000) -> None:
        """Let so many through."""
        self._let.release(batches)

    def batcher(self, **options: Any) -> Batcher:
        return Batcher(NETWORK, before=self, input_size=3, **{"max_sessions": 8, "max_wait": 0.0, **options})


async def ready(gate: Gate) -> None:
    """Wait until what the batcher prepares has gone through."""
    await gate.wait()

"""Workers that have an LSTM before the first task comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ...execution.entries import warmup
from ...host.threads import set_num_threads
from ...lstm import LSTM
from .carried import CarriedLSTM, class_name
from .graphs import distributed


class LSTMPlugin(distributed.WorkerPlugin):
    """Has every worker of a cluster ready for an LSTM: weights there and packed, kernels compiled or loaded.

    ``client.register_plugin(LSTMPlugin(lstm))`` does it now on the workers that there are, and on those that join or
    are started again before they get their first task.

    Parameters
    ----------
    lstm : LSTM
        As it is now.  In eval mode, if it has dropout.
    num_threads : int, optional
        What each worker's process is to call `numba_lstm.set_num_threads` with.  By default nothing is set, and the
        process has its default: one thread where ``OMP_NUM_THREADS`` is 1, as it is under Dask's nanny.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        If lstm is something else, or has dropout in train mode; if num_threads is no integer of at least 1.

    Notes
    -----
    A plugin takes the place of the LSTM in `map_batches` and `map_sequences`, and `call` in tasks of any other kind.
    They then have a digest where they have the weights otherwise, and a worker without the plugin raises RuntimeError.

    Workers keep the LSTM until ``client.unregister_worker_plugin(plugin.name)``.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from numba_lstm import LSTM
    >>> from numba_lstm.io.dask import LSTMPlugin
    >>> plugin = LSTMPlugin(LSTM(3, 5, seed=0).eval())
    >>> with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as client:
    ...     _ = client.register_plugin(plugin)
    ...     output, _ = client.submit(plugin.call, np.zeros((7, 1, 3), np.float32)).result()
    >>> output.shape
    (7, 1, 5)
    """

    def __init__(self, lstm: LSTM, num_threads: int | None = None) -> None:
        self._carried = CarriedLSTM(lstm)
        if num_threads is not None:
            if isinstance(num_threads, bool) or not isinstance(num_threads, int):
                raise TypeError(f"num_threads should be of type int, got: {class_name(num_threads)}")
            if num_threads < 1:
                raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        self._num_threads = num_threads
        self._ready: LSTM | None = None
        self.name = f"numba_lstm-{self._carried.digest}"

    @property
    def call(self) -> Callable[..., Any]:
        """What can be called in tasks as the LSTM: it has the digest only, and calls what the worker has.

        Take it out of the plugin before: a function that refers to the plugin brings the weights along.
        """
        return self._carried.without_weights()

    async def setup(self, worker: Any) -> None:
        """Get a worker ready, as Dask asks it to.  Meanwhile the worker answers."""
        await asyncio.to_thread(self._prepare)

    def teardown(self, worker: Any) -> None:
        """Let go of the LSTM, as Dask asks it to."""
        self._ready = None

    def _prepare(self) -> None:
        if self._num_threads is not None:
            set_num_threads(self._num_threads)
        lstm = self._carried.ready()
        warmup(lstm.dtype, weights=lstm.form)
        self._ready = lstm

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__qualname__, self._carried.digest


def carried_by(lstm: Any) -> CarriedLSTM:
    """Return what a graph is to have of an LSTM, or of a plugin."""
    return lstm._carried.without_weights() if isinstance(lstm, LSTMPlugin) else CarriedLSTM(lstm)

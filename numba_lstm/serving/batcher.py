"""Sessions that come and go, and one thread that computes for all of them."""

from __future__ import annotations

import asyncio
import threading
import warnings
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from ..contract.checks.arrays import native
from ..contract.checks.calls import sequence_states
from ..lstm import LSTM
from ..streaming.checks import positive
from .engine import Engine
from .network import Rowwise, ServedNetwork
from .session import Session


class Batcher:
    """One network for many callers, who do not come in step.

    Steps that wait together are computed together, as one step of a stream with ``rows``; so each costs less than it
    would alone, and gives the same bits.

    Parameters
    ----------
    lstm : LSTM
        With the weights of this moment; of one direction, and in eval mode if it has dropout.
    max_sessions : int
        How many may be open at a time.  Their states are allocated at once.
    max_wait : float
        Seconds that a step waits, at most, for the steps of those who had an answer within as many seconds.  A step
        that is alone does not wait.  With 0 none does, but for the batch that is being computed.
    before, after : callable, optional
        What is done to the inputs of a batch, (n, input_size), to make the LSTM's, (n, H_in), and to its outputs,
        (n, H_out), to make what callers get.  Results do not depend on the batch if each row's do not, to the last
        bit: a matrix product of NumPy cannot say so, `Linear` can.
    input_size : int
        Features of what ``before`` takes: needed with it, and only then.
    input_dtype : dtype, optional
        Of what ``before`` takes, by default the LSTM's.

    Raises
    ------
    ValueError
        If the LSTM is bidirectional, a number is out of its range, ``before`` and ``input_size`` do not come together,
        or ``after`` does not make (n, features).
    RuntimeError
        If dropout would apply: call ``eval`` first.
    TypeError
        If something is of a wrong type.

    Notes
    -----
    ``async with`` makes it ready, which compiles kernels if there are none, and closes it.  For plain threads ``with``
    does so.  Any number of tasks, event loops and threads may use a batcher, each with sessions of its own.

    A thread of its own computes, with as many threads to help as `get_num_threads` allows.  A session has one step
    under way at a time, so that no more than ``max_sessions`` ever wait.

    Examples
    --------
    >>> import asyncio
    >>> import numpy as np
    >>> from numba_lstm import LSTM
    >>> from numba_lstm.serving import Batcher
    >>> lstm = LSTM(3, 5, seed=0).eval()
    >>> x = np.random.default_rng(0).standard_normal((4, 9, 3), np.float32)
    >>> async def caller(batcher, chunk):
    ...     async with await batcher.open() as session:
    ...         return np.stack([await session.step(x) for x in chunk])
    >>> async def main():
    ...     async with Batcher(lstm) as batcher:
    ...         return await asyncio.gather(*(caller(batcher, chunk) for chunk in x))
    >>> outputs = asyncio.run(main())
    >>> all((output == lstm(chunk)[0]).all() for output, chunk in zip(outputs, x))
    True
    """

    def __init__(
        self,
        lstm: LSTM,
        *,
        max_sessions: int = 1000,
        max_wait: float = 0.002,
        before: Rowwise | None = None,
        after: Rowwise | None = None,
        input_size: int | None = None,
        input_dtype: Any = None,
    ) -> None:
        if not isinstance(lstm, LSTM):
            raise TypeError(f"lstm should be an LSTM, got: {type(lstm).__name__}")
        count = positive("max_sessions", max_sessions)
        if isinstance(max_wait, bool) or not isinstance(max_wait, (int, float)):
            raise TypeError(f"max_wait should be a number of seconds, got: {type(max_wait).__name__}")
        if not 0 <= max_wait <= threading.TIMEOUT_MAX:
            limit = threading.TIMEOUT_MAX
            raise ValueError(f"max_wait should be finite and not negative, at most {limit:.0f}, got: {max_wait}")
        for name, function in (("before", before), ("after", after)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} should be a function, got: {type(function).__name__}")
        if (before is None) != (input_size is None) or (before is None and input_dtype is not None):
            raise ValueError("before and input_size go together: size and dtype are those of what before takes")
        size = lstm.input_size if input_size is None else positive("input_size", input_size)
        dtype = lstm.dtype if input_dtype is None else native("input_dtype", np.dtype(input_dtype))
        if dtype.kind not in "fiub":
            raise TypeError(f"input_dtype should be a dtype of numbers, got: {dtype}")
        self._network = ServedNetwork(lstm, count, before, after, size, dtype)
        self._engine = Engine(self._network, count, float(max_wait))
        self._architecture, self._max_sessions = lstm._architecture, count

    async def open(self, state: tuple[np.ndarray, np.ndarray] | None = None) -> Session:
        """Return a new session.

        Parameters
        ----------
        state : pair of arrays, optional
            (h, c) to go on from, as `Session.state` gives them; zeros by default.

        Raises
        ------
        FullError
            If ``max_sessions`` are open.
        ClosedError
            If the batcher has been closed.
        RuntimeError, ValueError, TypeError
            If the states are not of this network's sizes and dtype.
        """
        await asyncio.wrap_future(self._engine.start())
        return self._opened(state)

    def open_sync(self, state: tuple[np.ndarray, np.ndarray] | None = None) -> Session:
        """Do the same as `open` for a thread."""
        self._engine.start().result()
        return self._opened(state)

    def _opened(self, state: Any) -> Session:
        states = None if state is None else sequence_states(self._architecture, self._network.dtype, state)
        if states is not None:  # the caller may change the arrays before they are taken
            states = states[0].copy(), states[1].copy()
        return Session(self._engine, self._network, self._architecture, states)

    def counters(self) -> dict[str, Any]:
        """Return what has been done so far, for a system of metrics.

        Returns
        -------
        dict
            ``sessions`` that are open; how many were ``opened`` and ``refused``; ``steps`` taken, and how often
            somebody was ``cancelled`` who waited for some, and ``failed`` for want of memory, say; ``batches``, and
            ``batch_sizes``, how many of them had up to 1, 2, 4, ... sessions; ``waiting_seconds`` from asking for a
            step to its batch, summed up, and ``computing_seconds`` of all batches.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> from numba_lstm.serving import Batcher
        >>> with Batcher(LSTM(3, 5).eval()) as batcher:
        ...     batcher.counters()["sessions"]
        0
        """
        return self._engine.counters()

    async def close(self) -> None:
        """Refuse new steps and sessions, compute what waits, and let the thread end.

        Sessions that are open can still be asked for their `Session.state`.
        """
        self._engine.check_caller()
        self._engine.close()
        await asyncio.get_running_loop().run_in_executor(None, self._engine.join)

    def close_sync(self) -> None:
        """Do the same as `close` for a thread."""
        self._engine.check_caller()
        self._engine.close()
        self._engine.join()

    async def __aenter__(self) -> Batcher:
        try:
            await asyncio.wrap_future(self._engine.start())
        except BaseException:
            self._engine.close()  # nobody else will
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await asyncio.shield(self.close())

    def __enter__(self) -> Batcher:
        try:
            self._engine.start().result()
        except BaseException:
            self._engine.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self.close_sync()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and engine.is_running:
            try:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
            finally:  # also where warnings are errors
                engine.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Batcher cannot be copied or pickled: make another one of the same module")

    def __repr__(self) -> str:
        a, sessions = self._architecture, self._engine.sessions
        return f"<Batcher of LSTM({a.input_size}, {a.hidden_size}), {sessions} of {self._max_sessions} sessions open>"

"""One caller's state, and the steps that it asks for."""

from __future__ import annotations

import asyncio
import warnings
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from ..contract.architecture import Architecture
from ..contract.checks.calls import sequence_states
from ..streaming.checks import sequence_input
from .engine import Engine
from .errors import ClosedError
from .network import ServedNetwork
from .seat import Seat
from .step import States, Step, answer


class Session:
    """A caller of a `Batcher`, which makes it: `Batcher.open`.

    Notes
    -----
    It is used by one task or thread at a time.  A task that is cancelled while its step waits has not taken it; one
    whose step is being computed has, and the output is lost: `steps` says which.
    """

    def __init__(
        self, engine: Engine, network: ServedNetwork, architecture: Architecture, states: States | None
    ) -> None:
        self._engine, self._network, self._architecture = engine, network, architecture
        self._step: Step | None = None
        self._closed = True
        self._seat = Seat()
        self._entered: Future[Any] | None = None
        """Tells whether the states that it was opened with are there, as long as that has not been looked at."""
        try:
            engine.enter(self._seat)
            if states is not None:
                # Nobody waits here, perhaps for a long batch: steps are asked for later, and taken later.
                self._entered = engine.set_state(self._row, states)
        except BaseException:  # Ctrl-C, or want of memory
            self._left()
            raise
        self._closed = False

    @property
    def _row(self) -> int:
        return self._seat.row

    async def step(self, x: np.ndarray) -> np.ndarray:
        """Advance by one step or several.

        Parameters
        ----------
        x : (H_in,) array, or (L, H_in) for L steps
            The next input, or of what the batcher's ``before`` makes one.  It is copied.

        Returns
        -------
        (H_out,) or (L, H_out) array
            h of the last layer: the bits of a stream of one's own.

        Raises
        ------
        RuntimeError
            If a size does not fit, or a step of this session is under way.
        ValueError, TypeError
            If x is no array of this dtype with one axis or two.
        ClosedError
            If the session or its batcher has been closed.

        Examples
        --------
        >>> import asyncio
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> from numba_lstm.serving import Batcher
        >>> async def main():
        ...     async with Batcher(LSTM(3, 5).eval()) as batcher, await batcher.open() as session:
        ...         return await session.step(np.ones(3, np.float32))
        >>> asyncio.run(main()).shape
        (5,)
        """
        step, single = self._made(x, asyncio.get_running_loop())
        try:
            self._begin(step)
            await step.future
        finally:
            self._end(step)
        if self._entered is not None:
            self._check_entered()
        return step.y[0] if single else step.y

    def step_sync(self, x: np.ndarray) -> np.ndarray:
        """Do the same as `step` for a thread, which waits meanwhile.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> from numba_lstm.serving import Batcher
        >>> with Batcher(LSTM(3, 5).eval()) as batcher, batcher.open_sync() as session:
        ...     session.step_sync(np.ones((4, 3), np.float32)).shape
        (4, 5)
        """
        step, single = self._made(x, None)
        try:
            self._begin(step)
            step.future.result()
        finally:
            self._end(step)
        if self._entered is not None:
            self._check_entered()
        return step.y[0] if single else step.y

    def _made(self, x: Any, loop: asyncio.AbstractEventLoop | None) -> tuple[Step, bool]:
        """Return a step that can be asked for, and whether x is a single one."""
        if self._closed or self._step is not None:
            self._check_free()
        network = self._network
        array = sequence_input(network.input_size, network.input_dtype, x)
        source = _unchanging(array, network.input_dtype)
        y = np.empty((len(source), network.output_size), network.output_dtype)
        return Step(self._row, source, y, loop), array.ndim == 1

    def _begin(self, step: Step) -> None:
        """Ask for a step; other threads may do so, or close this session, at the same time."""
        with self._engine.locked():
            self._check_free()
            self._step = step  # at first, so that it is known whatever Ctrl-C interrupts
            try:
                self._engine.submit(step)
            except RuntimeError:  # closed, for one
                self._step = None
                raise

    def _end(self, step: Step) -> None:
        """Let go of a step, which is not taken if nobody waits any more: after Ctrl-C, or in a task that is gone."""
        if self._step is step:
            waits = not step.future.done() or step.future.cancelled()
            if waits and self._engine.is_own:  # in a child that was forked, its parent waits for it
                self._engine.withdraw(step)
            self._step = None

    @property
    def steps(self) -> int:
        """How many steps have been taken since the session was opened; ClosedError after closing.

        It waits for the batch that is being computed, of which a step may be part whose task was cancelled.
        """
        self._check_open()
        taken: int = self._engine.taken(self._row).result()
        return taken

    @property
    def state(self) -> tuple[np.ndarray, np.ndarray]:
        """``(h, c)``, copies of the states: (num_layers, H_out) and (num_layers, H_cell).

        Assign such a pair to go on from there, in this process or another.  Both wait for the batch that is being
        computed.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> from numba_lstm.serving import Batcher
        >>> with Batcher(LSTM(3, 5).eval()) as batcher:
        ...     first, second = batcher.open_sync(), batcher.open_sync()
        ...     y = first.step_sync(np.ones(3, np.float32))
        ...     second.state = first.state
        ...     bool((second.state[0] == y).all())
        True
        """
        self._check_free()
        h, c = self._engine.state(self._row).result()
        self._check_entered()
        return h[:, 0], c[:, 0]

    @state.setter
    def state(self, hx: tuple[np.ndarray, np.ndarray]) -> None:
        self._check_free()
        states = sequence_states(self._architecture, self._network.dtype, hx)
        self._engine.set_state(self._row, states).result()
        self._entered = None

    def _check_entered(self) -> None:
        """Raise if the states that it was opened with are not there, for want of memory, say.

        Called when something has been done that had to wait for them; nothing is right until others are assigned.
        """
        if self._entered is not None:
            self._entered.result()
            self._entered = None

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this Session has been closed")

    def _check_free(self) -> None:
        self._check_open()
        step = self._step
        # One that is through stays here if Ctrl-C came before it was let go of.
        through = step is None or step.withdrawn or (step.future.done() and not step.future.cancelled())
        if not through:
            raise RuntimeError("this Session has a step under way: await it first, or open another session")

    async def close(self) -> None:
        """Give the seat to others.  Who waits for a step of this session gets a `ClosedError`."""
        self._engine.check_caller()
        left = self._left()
        if left is not None:
            await asyncio.shield(asyncio.wrap_future(left))

    def close_sync(self) -> None:
        """Do the same as `close` for a thread."""
        self._engine.check_caller()
        left = self._left()
        if left is not None:
            left.result()

    def _left(self) -> Future[Any] | None:
        """Return what tells when the seat is free, or nothing if it is.

        It may be called again where Ctrl-C, or want of memory, has interrupted it.
        """
        if not self._seat.is_taken:
            return None
        with self._engine.locked():
            self._closed = True
            step = self._step
            if step is not None:
                if not step.withdrawn:
                    self._engine.withdraw(step)
                answer([step], ClosedError("this Session has been closed"))
            return self._engine.leave(self._seat)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        await self.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self.close_sync()

    def __del__(self) -> None:
        seat = getattr(self, "_seat", None)
        if seat is not None and seat.is_taken and self._engine.is_running:  # a caller who is lost keeps no seat
            try:
                if not self._closed:
                    warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
            finally:  # also where warnings are errors
                self._left()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session cannot be copied or pickled: open another with its state")

    def __repr__(self) -> str:
        return f"<Session {self._row}{', closed' if self._closed else ''}>"


def _unchanging(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an input with the axis of steps, which stays as it is whatever its owner does."""
    if isinstance(x.base, bytes) and x.dtype == dtype and x.flags.c_contiguous:  # of `numpy.frombuffer`, from a network
        return x if x.ndim == 2 else x[None]
    return np.array(x, dtype, order="C", ndmin=2)

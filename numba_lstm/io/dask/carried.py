"""An LSTM on its way to workers: by its contents, so that what a process has been sent it need not prepare again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import numpy as np

from ...lstm import LSTM
from ...lstm_cell import LSTMCell

KEPT = 4
"""LSTMs that a process keeps beyond the computation that has brought them: the last ones, for another with the same."""


class _Here:
    """The LSTMs in this process that were sent to it, ready to be called."""

    lock = threading.Lock()
    by_digest: ClassVar[WeakValueDictionary[str, LSTM]] = WeakValueDictionary()
    last: ClassVar[deque[LSTM]] = deque(maxlen=KEPT)

    @classmethod
    def after_fork(cls) -> None:
        """In a child: the lock may be held by a thread that is not there."""
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Here.after_fork)


class CarriedLSTM:
    """The LSTM that a graph computes with: as it was when the graph was made, whatever becomes of the caller's.

    Tasks refer to the one place in a graph where it is.  It is packed by the first task of a process that asks for it,
    not where it is only passed on, as in a scheduler.

    Parameters
    ----------
    lstm : LSTM
        Not in train mode with dropout.

    Attributes
    ----------
    digest : str
        Of all that results depend on.  Within a process, one of the same digest takes its place.
    lstm : LSTM
        In eval mode.
    """

    def __init__(self, lstm: LSTM) -> None:
        check(lstm)
        # Its parameters are never written to, and other ones that the caller assigns do not get here.
        self.lstm = LSTM.__new__(LSTM)
        self.lstm.__dict__.update(lstm.__dict__, training=False)
        self.digest = _digest(self.lstm)
        self._sent = False

    def without_weights(self) -> NamedLSTM:
        """Return what stands for this in graphs for workers that have it: its digest alone leaves the process."""
        return NamedLSTM(self)

    def ready(self) -> LSTM:
        """Return the LSTM of this process, packed."""
        known = _Here.by_digest.get(self.digest)
        if known is not None:
            return known
        with _Here.lock:
            known = _Here.by_digest.get(self.digest)
            if known is None:
                known = self._own()
                known._network()
                _Here.by_digest[self.digest] = known
                if self._sent:  # the caller's own process keeps what the caller keeps
                    _Here.last.append(known)
        return known

    def _own(self) -> LSTM:
        return self.lstm

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sent": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __sizeof__(self) -> int:
        """Return the bytes of the weights, which Dask reckons with when it moves and stores results."""
        return object.__sizeof__(self) + sum(array.nbytes for array in self.lstm.parameters())

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__qualname__, self.digest


class NamedLSTM(CarriedLSTM):
    """One whose weights stay behind when it is pickled.  It can be called as the LSTM."""

    def __init__(self, carried: CarriedLSTM) -> None:
        self.__dict__.update(carried.__dict__)

    def _own(self) -> LSTM:
        if "lstm" not in self.__dict__:
            raise RuntimeError(
                f"no LSTM of digest {self.digest} is in this worker: call client.register_plugin(plugin) before "
                "anything is computed with the plugin, or give the LSTM itself"
            )
        return self.lstm

    def __call__(self, input: Any, hx: Any = None, **options: Any) -> Any:
        """Call the LSTM of this process."""
        return self.ready()(input, hx, **options)

    def __getstate__(self) -> dict[str, Any]:
        return {"digest": self.digest, "_sent": True}

    def __sizeof__(self) -> int:
        return object.__sizeof__(self)


def check(lstm: Any) -> None:
    """Raise unless something is an `LSTM` whose results depend on nothing but its weights."""
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm should be a numba_lstm.LSTM, got: {class_name(lstm)}{_instead(lstm)}")
    if type(lstm).forward is not LSTM.forward:
        raise TypeError(
            f"lstm should be a numba_lstm.LSTM, got: {class_name(lstm)}, which has a forward of its own: what that "
            "computes of a part of a sequence is not known. map_sequences takes a function of whole ones"
        )
    if lstm._dropout() is not None:
        raise RuntimeError(
            "this LSTM is in train mode and has dropout, whose masks would depend on how the work is divided: call "
            "lstm.eval()"
        )


def class_name(value: object) -> str:
    """Return the name of a value's class, with that of its module."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def is_torch_lstm(value: object) -> bool:
    """Return whether something is torch's LSTM or LSTMCell, also one that `accelerate` made; without torch."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(value).__mro__}
    return bool(kinds & {"torch.nn.modules.rnn.LSTM", "torch.nn.modules.rnn.LSTMCell"})


def _instead(value: object) -> str:
    """Return what to do with something that is not an LSTM."""
    if isinstance(value, LSTMCell):
        return ", which does one step: load its weights into an LSTM, see numba_lstm.LSTMCell"
    if is_torch_lstm(value):
        return ". numba_lstm.io.torch.from_module makes one of it"
    return ""


def _digest(lstm: LSTM) -> str:
    """Return 32 hexadecimal digits, which two LSTMs share if their calls give the same."""
    options = (lstm._architecture, lstm.batch_first, lstm.form)
    hashed = hashlib.blake2b(repr(options).encode(), digest_size=16)
    for name, array in lstm.named_parameters():
        hashed.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


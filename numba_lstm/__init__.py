"""``torch.nn.LSTM`` on NumPy arrays, by Numba kernels.

>>> import numpy as np
>>> import numba_lstm as nl
>>> lstm = nl.LSTM(3, 5, num_layers=2, seed=0)
>>> output, (h_n, c_n) = lstm(np.zeros((7, 1, 3), np.float32))
>>> output.shape, h_n.shape, c_n.shape
((7, 1, 5), (2, 1, 5), (2, 1, 5))
"""

from __future__ import annotations

from . import ctrl_c as ctrl_c  # before all else, which takes long to import

# isort: split

import importlib
import sys
from typing import TYPE_CHECKING

from . import public
from .contract.architecture import Architecture as Architecture
from .contract.checks.arrays import MaskedArrayError as MaskedArrayError
from .contract.loading import IncompatibleKeys as IncompatibleKeys
from .contract.module import Module as Module
from .contract.packed_sequence import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
)
from .contract.padded_sequences import pad_sequence, unpad_sequence
from .contract.parameter import Parameter as Parameter
from .contract.quantizable import QuantizableModule as QuantizableModule
from .contract.saved.saving import SavedCell as SavedCell
from .contract.saved.saving import SavedModule as SavedModule
from .execution.entries import warmup
from .gradients.differentiable import CellTrace as CellTrace
from .gradients.differentiable import DifferentiableModule as DifferentiableModule
from .gradients.differentiable_cell import DifferentiableCell as DifferentiableCell
from .gradients.pullback import Backward as Backward
from .gradients.pullback import CellBackward as CellBackward
from .gradients.pullback import Gradients as Gradients
from .host.threads import get_num_threads, set_num_threads
from .lstm import LSTM
from .lstm_cell import LSTMCell
from .simd.kernel_cache import CacheWarning as CacheWarning
from .streaming.exclusive import Exclusive as Exclusive
from .streaming.sliding_window import SlidingWindow as SlidingWindow
from .streaming.stream import Stream as Stream
from .streaming.streamed_module import StreamedModule as StreamedModule

__all__ = [
    "LSTM",
    "LSTMCell",
    "PackedSequence",
    "__version__",
    "get_num_threads",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "set_num_threads",
    "unpack_sequence",
    "unpad_sequence",
    "warmup",
]

__version__ = "0.1.0"

_LATER = ("io", "serving")

public.publish(
    globals(),
    *(SlidingWindow, Stream, IncompatibleKeys, Parameter, MaskedArrayError, CacheWarning),  # results, errors, warnings
    *(Backward, CellBackward, CellTrace, Gradients),
    *(Architecture, Exclusive, Module, QuantizableModule, SavedCell, SavedModule, StreamedModule),  # pickles, bases
    *(DifferentiableCell, DifferentiableModule),
    later=_LATER,
)
public.find_former(__name__)

if TYPE_CHECKING:
    from . import io as io
    from . import serving as serving
else:

    def __getattr__(name: str) -> object:
        """Import what only those need who read files or have many callers, when they first reach for it."""
        if name in _LATER:
            return importlib.import_module(f".{name}", __name__)
        former = sys.modules.get(f"{__name__}.{name}")  # numba_lstm.stream.Stream was documented
        if former is not None:
            return former
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

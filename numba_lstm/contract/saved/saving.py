"""Modules in files: made from one, written to one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ...formats.printable import printable
from ..architecture import CELL_SUFFIX, Architecture
from ..checks.arrays import float_dtype
from ..checks.constructor import boolean, probability
from ..module import Module
from ..quantizable import QuantizableModule
from ..weight_form import check_form, to_file
from . import kept
from .located import Located, concerns
from .record import (
    RECORDED_OR_FALSE,
    RECORDED_OR_ZERO,
    Recorded,
    Records,
    check_floats,
    common_dtype,
    encode_records,
    record,
    recorded_form,
)

OfLSTM = TypeVar("OfLSTM", bound="SavedModule")
OfCell = TypeVar("OfCell", bound="SavedCell")


class SavedModule(QuantizableModule):
    """The part of `LSTM` that reads and writes files; its constructor takes the arguments of `LSTM`."""

    batch_first: bool
    dropout: float

    @classmethod
    def _sized(
        cls: type[OfLSTM],
        architecture: Architecture,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        seed: Any = None,
    ) -> OfLSTM:
        a = architecture
        return cls._empty(
            a.input_size, a.hidden_size, a.num_layers, a.bias, batch_first, dropout, a.bidirectional, a.proj_size,
            dtype=dtype, seed=seed,
        )  # fmt: skip

    @classmethod
    def load(
        cls: type[OfLSTM],
        path: str | os.PathLike[str],
        prefix: str = "",
        *,
        batch_first: bool | Recorded = RECORDED_OR_FALSE,
        dropout: float | Recorded = RECORDED_OR_ZERO,
        dtype: Any = None,
        weights: str | None = None,
        seed: Any = None,
    ) -> OfLSTM:
        """Make a module from a file of weights.

        Every size is worked out from names and shapes.  Pass what they cannot tell.  Parameters that a module
        computes from others, as with weight drop, pruning and weight norm, come from those others.

        Parameters
        ----------
        path : path
            A file with torch's names: safetensors, npz, or what torch writes, which are checkpoints, TorchScript and
            archives of ``torch.export``.  The content tells which, whatever the name.  Of a checkpoint in several files
            the index, such as ``model.safetensors.index.json``.  Nothing in it is executed, and torch is not needed.
        prefix : str
            What precedes the names, such as ``"encoder.lstm."``; the file may hold more than this LSTM.  If it is a
            checkpoint whose state dict lies in another dict, that one's key may stand before: ``"state_dict.lstm."``
            and, if there is one such LSTM only, ``"lstm."``.  So it is with ``module.`` and ``_orig_mod.``, which
            torch's wrappers put into names.
        batch_first, dropout : bool and float
            As for a new module.  By default what `save` has recorded, or torch in a whole module; False and 0.0 in
            files without a record.
        dtype : float32 or float64, optional
            By default what was recorded, or else float64 if the file has that, and float32 for shorter ones.  Arrays of
            integers are no weights, whatever it is.
        weights : {"int8", "float16", "bfloat16"}, optional
            The form in which weights are to be kept, see `quantize`.  By default that of the file, if `save` wrote it.
        seed : optional
            As for a new module; dropout masks come from it.

        Returns
        -------
        LSTM
            In eval mode, without dropout: call `train` before training goes on.  In which mode a module was when it was
            saved does not count.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If it is something else, one of several files of a checkpoint, damaged, or has no complete LSTM under this
            prefix; or if the module there computes something else than torch's, as its class or what is beside its
            parameters tells.  The message begins with the path.
        ValueError, TypeError
            If an argument is none of what it may be.
        MemoryError
            If there is no room for the weights twice: those of the file, and the module's.  With ``weights`` the
            latter are small.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> LSTM(3, 5, batch_first=True).save("lstm.safetensors")
        >>> LSTM.load("lstm.safetensors")
        LSTM(3, 5, batch_first=True)
        """
        a, arrays, recorded, kind, form = _load(path, prefix, dtype, weights)
        try:
            if isinstance(batch_first, Recorded):
                batch_first = boolean("batch_first", recorded.get("batch_first", batch_first.otherwise))
            if isinstance(dropout, Recorded):
                dropout = probability(recorded.get("dropout", dropout.otherwise))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {printable(str(error))}") from error
        return cls._loaded(a, arrays, form, kind, batch_first=batch_first, dropout=dropout, seed=seed)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to a file, and batch_first, dropout, dtype and form with them.

        Parameters
        ----------
        path : path
            ``.safetensors`` or ``.npz``.  The file appears complete or not at all; what was there is replaced.  Links
            are followed, and the mode of a file that is replaced stays.  Of a quantized module it has what `state_dict`
            gives; bfloat16, which NumPy lacks, as such in safetensors, and in npz as uint16, the upper halves of
            float32 numbers.

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If the suffix is another.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(3, 5, batch_first=True)
        >>> lstm.save("lstm.safetensors")
        """
        from ...formats import files

        files.write(path, *contents_of({"": self}))


class SavedCell(QuantizableModule):
    """The part of `LSTMCell` that reads and writes files; its constructor takes the arguments of `LSTMCell`."""

    @classmethod
    def _sized(cls: type[OfCell], architecture: Architecture, *, dtype: Any = np.float32) -> OfCell:
        a = architecture
        return cls._empty(a.input_size, a.hidden_size, a.bias, dtype=dtype)

    @classmethod
    def load(
        cls: type[OfCell],
        path: str | os.PathLike[str],
        prefix: str = "",
        *,
        dtype: Any = None,
        weights: str | None = None,
    ) -> OfCell:
        """Make a cell from a file of weights, whose names and shapes tell the sizes.

        Parameters
        ----------
        path : path
            As for `LSTM.load`.
        prefix : str
            What precedes ``weight_ih`` and the other names, such as ``"decoder.rnn."``.
        dtype : float32 or float64, optional
            By default what was recorded, or else float64 if the file has that, and float32 for shorter ones.
        weights : {"int8", "float16", "bfloat16"}, optional
            As for `LSTM.load`.

        Returns
        -------
        LSTMCell
            In eval mode, as from `LSTM.load`; to a cell it makes no difference.

        Raises
        ------
        OSError, ValueError, MemoryError
            As `LSTM.load` does.

        Examples
        --------
        >>> from numba_lstm import LSTMCell
        >>> LSTMCell(3, 5).save("cell.npz")
        >>> LSTMCell.load("cell.npz")
        LSTMCell(3, 5)
        """
        a, arrays, _, kind, form = _load(path, prefix, dtype, weights, cell=True)
        return cls._loaded(a, arrays, form, kind)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to a file, and dtype and form with them.

        Parameters
        ----------
        path : path
            As for `LSTM.save`.

        Raises
        ------
        OSError, ValueError
            As `LSTM.save` does.

        Examples
        --------
        >>> from numba_lstm import LSTMCell
        >>> LSTMCell(3, 5).save("cell.safetensors")
        """
        from ...formats import files

        files.write(path, *contents_of({"": self}))


def contents_of(
    modules: Mapping[str, Module], left: Mapping[str, Mapping[str, object]] = MappingProxyType({})
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return what a file of modules holds, by their prefixes: the parameters of all, and what is recorded of each.

    With ``left`` that is also what options a module had where it comes from, and has not here.
    """
    arrays: dict[str, np.ndarray] = {}
    for prefix, module in modules.items():
        own = to_file(module.state_dict(), module._form)
        arrays.update({prefix + name: array for name, array in own.items()})
    records = {
        prefix: record(
            getattr(module, "batch_first", False),
            getattr(module, "dropout", 0.0),
            module.dtype,
            module._form,
            left.get(prefix, {}),
        )
        for prefix, module in modules.items()
    }
    return arrays, encode_records(records)


def check_names(arrays: Mapping[str, np.ndarray], modules: Mapping[str, Module]) -> None:
    """Raise ValueError if a module of such a file could not be loaded, because of the names of others or of its own."""
    for prefix, module in modules.items():
        Located(arrays, isinstance(module, SavedCell)).understood(prefix, arrays, {}, module._form)


class _Loaded(NamedTuple):
    architecture: Architecture
    arrays: dict[str, np.ndarray]
    """Arrays by the module's own names; in a form, what it keeps, and nobody else has."""
    recorded: dict[str, Any]
    dtype: Any
    form: str | None


def _load(
    path: str | os.PathLike[str], prefix: str, dtype: Any, weights: str | None, cell: bool = False
) -> _Loaded:
    """Read what is under a prefix of a file; ``dtype`` and ``weights`` as given to `LSTM.load`."""
    from ...formats import files  # here, as for saving: who makes modules otherwise need not import readers of files

    if not isinstance(prefix, str):
        raise TypeError(f"prefix should be of type str, got: {type(prefix).__name__}")
    if weights is not None:
        check_form(weights)
    if dtype is not None:
        dtype = float_dtype(dtype)
    contents = files.read_contents(path, lambda name: concerns(name, prefix, cell))
    try:
        located = Located(contents.names, cell, contents.inner)
        prefix = located.whole_prefix(prefix)
        own = Records(contents).of(prefix, located.names(prefix))
        form = recorded_form(own)
        architecture, sources = located.understood(prefix, contents.arrays, contents.modules, form)
        module = contents.modules.get(prefix)
        recorded = dict(module.options if module else {}) | own
        shapes = {name.removesuffix(CELL_SUFFIX) if cell else name: s for name, s in architecture.shapes().items()}
        if form is not None:
            kept.check_asked(form, weights, dtype)
            arrays = kept.read(contents.arrays, prefix, sources, shapes, form)
        else:
            check_floats({name: contents.arrays[name].dtype for name in (sources[n].parts[0] for n in shapes)})
            arrays = {name: sources[name].read(contents.arrays) for name in shapes}
            if dtype is None:
                dtype = float_dtype(recorded.get("dtype", common_dtype(arrays)))
            if weights is not None:
                contents.arrays.clear()
                arrays, form = kept.made(arrays, dtype, weights), weights
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {printable(str(error))}") from error
    return _Loaded(architecture, arrays, recorded, dtype, form)

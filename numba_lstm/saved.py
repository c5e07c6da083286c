"""LSTM modules in files: made from one, written to one."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from . import checks
from .module import Module, Weights
from .parameters import belongs, infer
from .record import RECORDED_OR_FALSE, RECORDED_OR_ZERO, Recorded, common_dtype, encode_record, read_record

Self = TypeVar("Self", bound="SavedModule")


class SavedModule(Module):
    """The part of `LSTM` that reads and writes files; its constructor takes the arguments of `LSTM`."""

    batch_first: bool
    dropout: float

    @classmethod
    def load(
        cls: type[Self],
        path: str | os.PathLike[str],
        prefix: str = "",
        *,
        batch_first: bool | Recorded = RECORDED_OR_FALSE,
        dropout: float | Recorded = RECORDED_OR_ZERO,
        dtype: Any = None,
        seed: Any = None,
    ) -> Self:
        """Make a module from a file of weights.

        Every size is worked out from names and shapes.  What these cannot tell is an argument.

        Parameters
        ----------
        path : path
            A ``.safetensors`` or ``.npz`` file with torch's names.  Nothing in it is executed.
        prefix : str
            What precedes the names, such as ``"encoder.lstm."``; the file may hold more than this LSTM.
        batch_first, dropout : bool and float
            As for a new module.  By default what `save` has recorded; False and 0.0 in files without a record.
        dtype : float32 or float64, optional
            By default what was recorded, or else float64 if the file has that, and float32 for shorter ones.
        seed : optional
            As for a new module; dropout masks come from it.

        Returns
        -------
        LSTM
            In train mode, as every new module.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If its suffix is another, it is damaged, or it has no complete LSTM under this prefix.  The message
            begins with the path.
        MemoryError
            If there is no room for the weights twice: those of the file, and the module's.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from numba_lstm import LSTM
        >>> path = pathlib.Path(tempfile.mkdtemp(), "lstm.safetensors")
        >>> LSTM(3, 5, batch_first=True).save(path)
        >>> LSTM.load(path)
        LSTM(3, 5, batch_first=True)
        """
        from . import io

        contents = io.read_contents(path, lambda name: belongs(name, prefix))
        arrays = contents.arrays
        try:
            architecture = infer(arrays, prefix, contents.names)
            recorded = read_record(contents.metadata)
            names = architecture.shapes()
            if dtype is None:
                common = common_dtype({name: arrays[prefix + name] for name in names})
                dtype = checks.float_dtype(recorded.get("dtype", common))
            if isinstance(batch_first, Recorded):
                batch_first = checks.boolean("batch_first", recorded.get("batch_first", batch_first.otherwise))
            if isinstance(dropout, Recorded):
                dropout = checks.probability(recorded.get("dropout", dropout.otherwise))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from error
        a = architecture
        make: Any = cls  # whose constructor takes LSTM's arguments
        lstm: Self = make(
            a.input_size, a.hidden_size, a.num_layers, a.bias, batch_first, dropout, a.bidirectional, a.proj_size,
            dtype=dtype, seed=seed,
        )  # fmt: skip
        lstm._weights = Weights({})  # those that were drawn have done their part: the generator is where it should be
        lstm.load_state_dict({name: arrays[prefix + name] for name in names})
        return lstm

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the parameters to a file, and batch_first, dropout and dtype with them.

        Parameters
        ----------
        path : path
            ``.safetensors`` or ``.npz``.  The file appears complete or not at all; what was there is replaced.

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If the suffix is another.
        """
        from . import io

        io.write(path, self._weights.parameters, encode_record(self.batch_first, self.dropout, self._dtype))

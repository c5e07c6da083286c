"""Modules whose weights can be kept in fewer bytes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from .architecture import Architecture
from .module import Module
from .parameter import as_it_is
from .weight_form import check_form, check_kept, dequantized, kept_shapes, quantized

Self = TypeVar("Self", bound="QuantizableModule")


class QuantizableModule(Module):
    """The part of a module that makes another one of it, with weights in another form."""

    @classmethod
    def _of_form(
        cls: type[Self], architecture: Architecture, kept: Mapping[str, np.ndarray], form: str, **options: Any
    ) -> Self:
        """Return a quantized module of some sizes.

        Parameters
        ----------
        architecture : Architecture
            Sizes.
        kept : mapping of str to array
            What the form keeps of the parameters, see ``weight_form``, by the module's own names: those of a cell are
            without ``_l0``.  Copied.
        form : {"float16", "bfloat16", "int8"}
            In which weights are kept.
        **options
            ``batch_first`` and ``dropout`` of an LSTM.

        Raises
        ------
        ValueError
            If the form keeps something else of such parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> small = LSTM(3, 5, num_layers=2, seed=0).quantize("int8")
        >>> same = LSTM._of_form(small._architecture, small.state_dict(), "int8", batch_first=True)
        >>> same
        LSTM(3, 5, num_layers=2, batch_first=True, form='int8')
        >>> x = np.ones((1, 7, 3), np.float32)
        >>> np.array_equal(same(x)[0], small(x.swapaxes(0, 1))[0].swapaxes(0, 1))
        True
        """
        check_form(form)
        module: Self = cls._sized(architecture, **options)
        shapes = module._shapes()
        owned = {name: as_it_is(array) for name, array in kept.items()}
        check_kept(owned, shapes, form)
        module._keep({name: owned[name] for name in kept_shapes(shapes, form)}, form)
        return module

    @classmethod
    def _loaded(
        cls: type[Self],
        architecture: Architecture,
        arrays: Mapping[str, np.ndarray],
        form: str | None,
        dtype: Any,
        **options: Any,
    ) -> Self:
        """Return a module of what was read: parameters, or what a form keeps of them, checked and nobody else's.

        It is in eval mode: who loads weights mostly wants results, to which dropout would add noise without a word.
        """
        if form is None:
            return cls._of(architecture, arrays, dtype=dtype, **options).eval()
        module: Self = cls._sized(architecture, **options)
        module._keep(arrays, form)
        return module

    @property
    def form(self) -> str:
        """How weights are kept: ``"float32"``, ``"float64"``, or what `quantize` was told; cannot be changed."""
        return self._form or self._dtype.name

    def quantize(self: Self, form: str) -> Self:
        """Return a module with the same weights in fewer bytes, for inference.

        Biases stay float32, and so do inputs, outputs and states.

        Parameters
        ----------
        form : {"int8", "float16", "bfloat16"}
            In which weights are kept.  With ``"float16"`` and ``"bfloat16"`` results have the bits of a module whose
            weights were rounded to these.  With ``"int8"`` each row of a weight has a scale, and inputs and states are
            rounded to 8 bits as well, with a scale for each row at each step.

        Returns
        -------
        module of the same class
            In eval mode, with everything else as here.  Its parameters are what is kept: read-only arrays of int8, from
            -127 to 127, each beside a float32 array of scales under its name with ``_scale``; of float16; or, for
            bfloat16, of float32 numbers that were rounded, which take 2 bytes in files and 4 in the module, beside the
            2 that kernels read, or 6 where batches are faster with float32 numbers.  To change them, change the float32
            module and quantize it again.

        Raises
        ------
        ValueError
            If the form is another, the module is float64, or a weight is beyond the numbers of the form.
        RuntimeError
            If the module is quantized already.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_lstm import LSTM
        >>> lstm = LSTM(64, 128, seed=0).eval()
        >>> small = lstm.quantize("int8")
        >>> small
        LSTM(64, 128, form='int8')
        >>> small.weight_hh_l0.dtype, small.weight_hh_l0_scale.shape
        (dtype('int8'), (512,))
        >>> x = np.random.default_rng(0).standard_normal((100, 1, 64), np.float32)
        >>> bool(np.abs(small(x)[0] - lstm(x)[0]).max() < 0.01)
        True
        """
        check_form(form)
        kind = type(self).__name__
        if self._form is not None:
            raise RuntimeError(
                f"this {kind} is quantized to {self._form} already: quantize the float32 module it was made of"
            )
        if self._dtype != np.float32:
            raise ValueError(
                f"this {kind} is {self._dtype}, and what is quantized is float32: load its state dict into a float32 "
                "module, or its file with dtype='float32'"
            )
        return self._another(quantized(self._weights.plain(self._layouts), form), form)

    def dequantize(self: Self) -> Self:
        """Return a float32 module with the numbers that the kept weights of this one stand for.

        It is not the one that was quantized: what was rounded away is lost.

        Returns
        -------
        module of the same class
            In eval mode, with everything else as here.

        Raises
        ------
        RuntimeError
            If the module is not quantized.

        Examples
        --------
        >>> from numba_lstm import LSTM
        >>> small = LSTM(3, 5, seed=0).quantize("float16")
        >>> wide = small.dequantize()
        >>> wide, wide.form
        (LSTM(3, 5), 'float32')
        >>> bool((wide.weight_ih_l0 == small.weight_ih_l0).all())
        True
        """
        if self._form is None:
            raise RuntimeError(f"this {type(self).__name__} is not quantized: its weights are {self._dtype}")
        return self._another(dequantized(self._weights.plain(self._layouts), self._form), None)

    def _form_words(self) -> str:
        """Return what ``repr`` says of the form, where it is none of the two dtypes."""
        return "" if self._form is None else f", form={self._form!r}"

    def _another(self: Self, kept: dict[str, np.ndarray], form: str | None) -> Self:
        """Return a shallow copy with other parameters; masks of dropout are drawn by each for itself."""
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__, _generator=copy.deepcopy(self._generator))
        made._keep(kept, form)
        return made

"""Dropout between layers with torch's random numbers: the masks that torch's own module would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...lstm import LSTM
from .tensors import torch
from .weights import LAYERS


def drops(module: Any) -> bool:
    """Return whether dropout between layers applies."""
    # A cell has no dropout; what a subclass of one calls so is its own.
    return bool(
        module._numba_lstm_kind is LAYERS and module.training and module.dropout and module.num_layers > 1
    )


def drawn_masks(module: Any, input: Any) -> list[Any]:
    """Draw which elements dropout keeps of the output of every layer but the last, if it applies.

    Parameters
    ----------
    module : torch.nn.LSTM or torch.nn.LSTMCell
    input : Tensor
        Of a call; the data of a packed sequence.

    Returns
    -------
    list of Tensor
        Of booleans, (L, N, D * H_out) with the batch second, (L, D * H_out), or (rows, D * H_out).  They come from
        torch's generator, and are the elements that torch's own module would keep.  None in eval mode.
    """
    if not drops(module):
        return []
    lead = list(input.shape[:-1])
    if module.batch_first and len(lead) == 2:
        lead.reverse()
    shape = *lead, (1 + bool(module.bidirectional)) * (module.proj_size or module.hidden_size)
    masks = [torch.zeros(shape, dtype=torch.bool, device="cpu") for _ in range(module.num_layers - 1)]
    if module.dropout == 1 or not input.numel():  # where torch draws nothing either
        return masks
    return [mask.bernoulli_(1 - module.dropout) for mask in masks]


class _Dropping(LSTM):
    """A module for a call whose masks were drawn before."""

    masks: Sequence[np.ndarray]

    def _dropout(self) -> Callable[[np.ndarray], None]:  # type: ignore[override]
        masks = iter(self.masks)
        scale = self._dtype.type(1 / (1 - self.dropout) if self.dropout < 1 else 0.0)

        def drop(output: np.ndarray) -> None:
            with np.errstate(all="ignore"):  # torch says nothing of inf either
                output *= next(masks).reshape(output.shape) * scale

        return drop


def with_masks(core: LSTM, dropout: float, masks: Sequence[Any]) -> LSTM:
    """Return a module that calls the same network in train mode, with masks that `drawn_masks` has returned."""
    made = _Dropping.__new__(_Dropping)
    made.__dict__.update(core.__dict__, training=True, dropout=dropout, masks=[mask.numpy() for mask in masks])
    return made

"""Models of torch that tests accelerate, here and in other processes, and how what they return is compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = 1e-5
"""By how much results in float32 may differ from torch's."""


class Both(nn.Module):
    """An LSTM and a cell, with operators of torch before and behind."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell, self.head = nn.LSTM(3, 5), nn.LSTMCell(3, 5), nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        y = self.head(torch.relu(self.lstm(x * 2)[0]) + 1)
        return y + self.head(self.cell(x[0] + 1)[0])


class Parts(nn.Module):
    """An LSTM, a cell and a linear layer, for models of tests to call."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm, self.cell = nn.LSTM(3, 5, **options), nn.LSTMCell(3, 4)
        self.head = nn.Linear(5 * (1 + self.lstm.bidirectional), 2)


def tensors(result: Any) -> list[Any]:
    """Return what a call returned, in a row."""
    if isinstance(result, torch.Tensor):
        return [result]
    return [] if result is None else [tensor for part in result for tensor in tensors(part)]


def same(ours: Any, theirs: Any, tolerance: float = TOLERANCE) -> None:
    """Assert that results have the types, shapes and, within a tolerance, the numbers of others."""
    for one, other in zip(tensors(ours), tensors(theirs), strict=True):
        assert (type(one), one.dtype, one.shape) == (type(other), other.dtype, other.shape)
        np.testing.assert_allclose(one.double().numpy(), other.double().numpy(), rtol=0, atol=tolerance)

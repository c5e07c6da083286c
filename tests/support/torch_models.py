"""Models of torch that tests compile, here and in other processes."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
nn = torch.nn


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

"""The scratch memory of a call."""

from __future__ import annotations

import numpy as np
import pytest

from numba_lstm.contract.architecture import Architecture
from numba_lstm.execution.network import Network
from numba_lstm.execution.planning.machine import ASSUMED
from numba_lstm.execution.planning.schedule import Batch


def work_size(bidirectional: bool, steps: int, **batch: bool) -> int:
    a = Architecture(3, 5, 3, True, bidirectional, 0)
    parameters = {name: np.zeros(shape, np.float32) for name, shape in a.shapes().items()}
    return Network(a, parameters, np.dtype(np.float32)).plan(Batch(steps, 4, **batch)).work_size


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_long_sequences_need_no_more_than_others(
    bidirectional: bool, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies between the layers of a whole sequence is in arrays of its own, which launches of one layer read."""
    monkeypatch.setitem(ASSUMED, "most_steps", 10)
    assert work_size(bidirectional, 1000, kept=kept) == work_size(bidirectional, 2000, kept=kept)


def test_what_lies_between_layers_of_two_directions() -> None:
    """A launch that does all layers has room for the whole output of two of them."""
    more = work_size(True, 20) - work_size(True, 10)
    assert more >= 2 * 10 * 4 * 2 * 5
    assert work_size(True, 20, kept=True) < work_size(True, 20)

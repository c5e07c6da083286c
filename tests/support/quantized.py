"""What tests of modules with weights in 16 or 8 bits share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


def same_module(actual: Any, expected: Any) -> None:
    """Check that two quantized modules keep the same, of the same types, which nobody can write to."""
    assert type(actual) is type(expected)
    assert repr(actual) == repr(expected)
    assert (actual.form, actual.dtype, actual.training) == (expected.form, expected.dtype, False)
    assert list(actual.state_dict()) == list(expected.state_dict())
    for (name, one), other in zip(actual.named_parameters(), expected.parameters(), strict=True):
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other)
        with pytest.raises(ValueError, match="WRITEABLE"):
            one.flags.writeable = True
